"""The root conftest: what suites and tests share, which is only pytester for the plugin's own tests."""

pytest_plugins = ["pytester"]
