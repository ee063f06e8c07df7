"""The SageMaker pipeline: authored here, published by a deployment."""
