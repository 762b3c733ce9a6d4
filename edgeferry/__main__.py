# SPDX-License-Identifier: Apache-2.0
"""The program ``edgeferry``, which is also ``python -m edgeferry``."""

import signal


def main() -> None:
    """Run the command. Ctrl-C during the imports ends it silently, as the system does."""
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from edgeferry.commands.app import main as run

    signal.signal(signal.SIGINT, interrupted)
    run()


if __name__ == "__main__":
    main()
