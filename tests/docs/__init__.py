"""The documentation as a thing that is made and tested: pages written from the code, links, commands that are run."""
