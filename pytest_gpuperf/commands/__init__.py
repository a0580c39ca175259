"""One file per subcommand of ``gpuperf``: ``add_arguments(parser)`` and ``run(args) -> int``."""
