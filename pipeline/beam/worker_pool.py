"""Beam's pool of workers for this machine: `python -m pipeline.beam.worker_pool --service_port=N`.

A pool starts the programs that its clients name and asks for no password, so it listens on loopback
only. Beam's own `worker_pool_main` listens on all interfaces.
"""

import sys

from apache_beam.runners.worker import worker_pool_main

from pipeline.beam.options import bind_to_loopback


def main() -> None:
    """Serves until it is interrupted."""
    bind_to_loopback()
    worker_pool_main.main(sys.argv[1:])


if __name__ == "__main__":
    main()
