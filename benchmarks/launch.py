"""Runs a command and writes down what it took: `launch.py FIGURES-FILE COMMAND…`.

A process of its own, with next to nothing imported: Linux counts the memory of whoever started a
program into the program's peak, so a large parent would hide it.
"""

import os
import sys
import time


def main() -> None:
    figures, *command = sys.argv[1:]
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.execv(command[0], command)
    _, status, usage = os.wait4(child, 0)
    took = (time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
    descriptor = os.open(figures, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, " ".join(map(str, took)).encode())
    sys.exit(max(0, os.waitstatus_to_exitcode(status)) or int(status != 0))


if __name__ == "__main__":
    main()
