"""The SageMaker pipeline: its definition, and how a deployment publishes it."""
