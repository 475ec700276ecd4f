import tomllib
import unittest
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


class Package(unittest.TestCase):
    def test_an_installer_reads_the_project_and_its_extras(self):
        project = tomllib.loads(PROJECT.read_text())["project"]
        self.assertEqual(set(project["optional-dependencies"]), {"kafka", "torch", "trl"})
        names = [requirement.split(">")[0] for requirement in project["dependencies"]]
        self.assertEqual(names, ["httpx", "numpy", "pyarrow", "safetensors"])
