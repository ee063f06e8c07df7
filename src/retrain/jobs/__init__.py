"""What runs inside SageMaker jobs and endpoints: thin entry points around the pure modules."""
