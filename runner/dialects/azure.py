"""Azure OpenAI's Assistants: v2 with a version in the query and a key of its own.

Microsoft's reference: assistants-reference-runs.md of MicrosoftDocs/azure-ai-docs (2024-09).
"""

from urllib.parse import quote

from runner.dialects.dialect import Dialect, Options
from runner.dialects.fields import OPENAI
from runner.dialects.line import LineCheck
from runner.dialects.openai import Assistants, segment
from runner.dialects.options import settled

API_VERSION = "2024-08-01-preview"

_UNLISTED = dict.fromkeys(
    ("parallel_tool_calls", "reasoning_effort"),
    "is not in Azure's reference of this call; the server may refuse it",
)


def make(options: Options) -> Dialect:
    """Return the dialect `azure`.

    Options: `api_version`; `resource`, which gives the base URL; `entra` "1", where the key is a
    token of Microsoft Entra; `deployment`, for a gateway that wants a deployment path (Azure's own
    threads have none: `model` names the deployment).
    """
    defaults = {"api_version": API_VERSION, "resource": "", "entra": "", "deployment": ""}
    chosen = settled("azure", options, defaults)
    entra, resource, deployment = chosen["entra"] == "1", chosen["resource"], chosen["deployment"]
    token = "AZURE_OPENAI_AD_TOKEN"  # noqa: S105 - a variable's name
    return Assistants(
        name="azure",
        lines=LineCheck(OPENAI, tag=chosen["tag"], unlisted=_UNLISTED),
        beta="assistants=v2",
        base_url=f"https://{resource}.openai.azure.com/openai" if resource else None,
        url_variables=("AZURE_OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"),
        key_variables=(token,) if entra else ("AZURE_OPENAI_API_KEY",),
        auth="authorization" if entra else "api-key",
        query=f"api-version={quote(chosen['api_version'], safe='')}",
        prefix=f"/deployments/{segment(deployment)}" if deployment else "",
    )
