"""What is collected where."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("sagemaker") else ["sdk"]
