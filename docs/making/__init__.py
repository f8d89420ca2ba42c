"""The site of the documentation, made from the repository: pages for mkdocs in a folder of its own.

`python -m docs.making DIR` writes them: the documents as they are, references made from the code,
and the tutorial and the notebook with what their commands printed. mkdocs (in an environment of its
own) turns them into `site/` and checks every link: `make docs` does both.
"""
