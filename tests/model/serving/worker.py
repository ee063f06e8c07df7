"""The serving program of SageMaker's XGBoost image, on sagemaker-containers: `gunicorn worker:app`.

Imports the model's program as the container does, from SAGEMAKER_SUBMIT_DIRECTORY, and answers /ping and /invocations.
"""

import collections
import collections.abc

collections.Mapping = collections.abc.Mapping  # sagemaker-containers is older than Python 3.10, which dropped the name

from sagemaker_containers.beta.framework import env, modules, transformer, worker  # noqa: E402

environment = env.ServingEnv()
program = modules.import_module(environment.module_dir, environment.module_name)
served = transformer.Transformer(model_fn=program.model_fn, transform_fn=program.transform_fn)
served.initialize()
app = worker.Worker(transform_fn=served.transform, module_name=environment.module_name)
