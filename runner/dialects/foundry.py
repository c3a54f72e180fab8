"""Azure AI Foundry's agents (classic): v2, more tools, and tokens of Microsoft Entra only.

Azure/azure-rest-api-specs, data-plane AI agents v1. Retires on 2027-03-31.
"""

from urllib.parse import quote

from runner.dialects.dialect import Dialect, Options
from runner.dialects.fields import FOUNDRY
from runner.dialects.line import LineCheck
from runner.dialects.openai import Assistants, segment
from runner.dialects.options import settled

API_VERSION = "v1"


def make(options: Options) -> Dialect:
    """Return the dialect `foundry`.

    Options: `api_version`; `resource` and `project`, which together give the base URL.
    """
    defaults = {"api_version": API_VERSION, "resource": "", "project": ""}
    chosen = settled("foundry", options, defaults)
    resource, project = chosen["resource"], chosen["project"]
    url = f"https://{resource}.services.ai.azure.com/api/projects/{segment(project)}"
    return Assistants(
        name="foundry",
        lines=LineCheck(FOUNDRY, tag=chosen["tag"]),
        # Its own SDK sends no beta header (Azure/azure-sdk-for-python, azure-ai-agents).
        beta="",
        base_url=url if resource and project else None,
        url_variables=("AZURE_AI_FOUNDRY_PROJECT_ENDPOINT", "PROJECT_ENDPOINT"),
        key_variables=("AGENT_TOKEN", "AZURE_AI_TOKEN"),
        query=f"api-version={quote(chosen['api_version'], safe='')}",
    )
