"""What pyproject.toml cannot say: the studies of `studies/` are installed as `sweep/shipped`."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["sweep*", "slr_models*"]), "sweep.shipped", "sweep.shipped.own"],
    package_dir={"sweep.shipped": "studies", "sweep.shipped.own": "studies/own"},
)
