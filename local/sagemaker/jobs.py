"""Processing and training jobs, executed."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local.sagemaker import logs
from local.sagemaker import s3 as files
from local.sagemaker.container import Container, Ended
from local.sagemaker.store import Resource, Store, could_not_find, page, pick, shown
from local.wire import ApiError

HOST = "localhost"  # what the one instance of a job is called
CHECKPOINTS = "/opt/ml/checkpoints"
AT_ONCE = 2  # job processes on this machine
DEFAULT_SECONDS = 86_400
MESSAGE_LIMIT = 1024
KINDS = {"processing_jobs": "ProcessingJob", "training_jobs": "TrainingJob"}
INTERRUPTED = "InternalServerError: The embedded AWS ended before it did."


class Jobs:
    """Every job runs as a process under the container contract; Describe tells how it ended."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._places = threading.Semaphore(AT_ONCE)
        self._running: dict[str, list[Container]] = {}
        self._jobs = itertools.count(1)

    # Processing -------------------------------------------------------------------------------------------------------

    def create_processing_job(self, params: Resource) -> Resource:
        """CreateProcessingJob."""
        name = params["ProcessingJobName"]
        job = self._add("processing_jobs", name, "processing-job", "ProcessingJob", params)
        job.pop("ExperimentConfig", None)
        threading.Thread(target=self._process, args=(job,), name=name, daemon=True).start()
        return {"ProcessingJobArn": job["ProcessingJobArn"]}

    def describe_processing_job(self, params: Resource) -> Resource:
        """DescribeProcessingJob."""
        return shown(self._find("processing_jobs", "processing-job", params["ProcessingJobName"]))

    def list_processing_jobs(self, params: Resource) -> Resource:
        """ListProcessingJobs."""
        found, more = self._list("processing_jobs", "ProcessingJob", params)
        return {"ProcessingJobSummaries": found, **more}

    def stop_processing_job(self, params: Resource) -> Resource:
        """StopProcessingJob."""
        return self._stop(self._find("processing_jobs", "processing-job", params["ProcessingJobName"]), "ProcessingJob")

    def _process(self, job: Resource) -> None:
        name = job["ProcessingJobName"]
        container = Container(self.store.root / "jobs", name)
        with self._places:
            try:
                if not self._begin(job, "ProcessingJob", [container]):
                    return
                for source in job.get("ProcessingInputs", []):
                    if wanted := source.get("S3Input"):
                        files.download(
                            self.store.aws("s3", job["RoleArn"]), wanted, container.path(wanted["LocalPath"])
                        )
                for output in job.get("ProcessingOutputConfig", {}).get("Outputs", []):
                    container.path(output["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
                (container.ml / "output").mkdir(exist_ok=True)
                (container.ml / "config").mkdir()
                (container.ml / "config" / "processingjobconfig.json").write_text(json.dumps(job, default=str))
                (container.ml / "config" / "resourceconfig.json").write_text(_resources(HOST, [HOST]))
                app = job["AppSpecification"]
                command = [*app.get("ContainerEntrypoint", []), *app.get("ContainerArguments", [])]
                seconds = job.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_SECONDS)
                environment = {**job.get("Environment", {}), **self.store.access.environment(job["RoleArn"])}
                ended = container.run(command, environment, seconds)
                self._log("ProcessingJobs", job, name, ended)
                message = container.ml / "output" / "message"
                if message.exists():
                    job["ExitMessage"] = message.read_text(errors="replace")[:MESSAGE_LIMIT]
                if ended.code == 0:
                    for output in job.get("ProcessingOutputConfig", {}).get("Outputs", []):
                        made = container.path(output["S3Output"]["LocalPath"])
                        files.upload(self.store.aws("s3", job["RoleArn"]), made, output["S3Output"]["S3Uri"])
                self._end(job, "ProcessingJob", ended, job.get("ExitMessage", ""))
            except (files.NoObjectsError, ClientError) as error:
                self._fail(job, "ProcessingJob", _said(error))
            except Exception as error:  # noqa: BLE001 - the platform's own faults end the job, as AWS's do
                self._fail(job, "ProcessingJob", f"InternalServerError: {error!r}")
            finally:
                container.remove()

    # Training ---------------------------------------------------------------------------------------------------------

    def create_training_job(self, params: Resource) -> Resource:
        """CreateTrainingJob."""
        name = params["TrainingJobName"]
        job = self._add("training_jobs", name, "training-job", "TrainingJob", params)
        for absent in ("ExperimentConfig", "Tags"):
            job.pop(absent, None)
        job["SecondaryStatus"] = "Starting"
        artifact = f"{params['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output/model.tar.gz"
        job["ModelArtifacts"] = {"S3ModelArtifacts": artifact}
        threading.Thread(target=self._train, args=(job,), name=name, daemon=True).start()
        return {"TrainingJobArn": job["TrainingJobArn"]}

    def describe_training_job(self, params: Resource) -> Resource:
        """DescribeTrainingJob."""
        return shown(self._find("training_jobs", "training-job", params["TrainingJobName"]))

    def list_training_jobs(self, params: Resource) -> Resource:
        """ListTrainingJobs."""
        found, more = self._list("training_jobs", "TrainingJob", params)
        return {"TrainingJobSummaries": found, **more}

    def stop_training_job(self, params: Resource) -> Resource:
        """StopTrainingJob."""
        return self._stop(self._find("training_jobs", "training-job", params["TrainingJobName"]), "TrainingJob")

    def _train(self, job: Resource) -> None:
        name = job["TrainingJobName"]
        hosts = self._hosts(job["ResourceConfig"].get("InstanceCount", 1))
        containers = [Container(self.store.root / "jobs", name) for _ in hosts]
        with self._places:
            try:
                if not self._begin(job, "TrainingJob", containers):
                    return
                for container, host in zip(containers, hosts, strict=True):
                    self._furnish(container, job, host, hosts)
                with ThreadPoolExecutor(len(hosts)) as instances:
                    ran = list(instances.map(self._run_instance, containers, itertools.repeat(job)))
                for number, ended in enumerate(ran, 1):
                    self._log("TrainingJobs", job, name, ended, number)
                ended = next((one for one in ran if one.code or one.overdue), ran[0])
                failure = containers[ran.index(ended)].ml / "output" / "failure"
                reason = failure.read_text(errors="replace")[:MESSAGE_LIMIT] if failure.exists() else ""
                if ended.code == 0:
                    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
                    self._keep(job, [container.ml / "model" for container in containers], artifact)
                    outputs = [container.ml / "output" / "data" for container in containers]
                    if any(any(output.iterdir()) for output in outputs):
                        self._keep(job, outputs, artifact.replace("model.tar.gz", "output.tar.gz"))
                self._end(job, "TrainingJob", ended, reason)
            except (files.NoObjectsError, ClientError) as error:
                self._fail(job, "TrainingJob", _said(error))
            except Exception as error:  # noqa: BLE001 - the platform's own faults end the job, as AWS's do
                self._fail(job, "TrainingJob", f"InternalServerError: {error!r}")
            finally:
                for container in containers:
                    container.remove()

    def _hosts(self, count: int) -> list[str]:
        """Names of a job's instances. Several have addresses of this machine that no other running job has."""
        if count == 1:
            return [HOST]
        job = next(self._jobs)
        return [f"127.1.{job % 250}.{number}" for number in range(1, count + 1)]

    def _furnish(self, container: Container, job: Resource, host: str, hosts: list[str]) -> None:
        """The instance's folders hold the job's channels, its checkpoints so far, and its configuration."""
        for folder in ("input/config", "model", "output/data", "code"):
            (container.ml / folder).mkdir(parents=True)
        channels = {}
        for channel in job.get("InputDataConfig", []):
            target = container.ml / "input" / "data" / channel["ChannelName"]
            files.download(self.store.aws("s3", job["RoleArn"]), channel["DataSource"]["S3DataSource"], target)
            channels[channel["ChannelName"]] = {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
                **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
            }
        if checkpoints := job.get("CheckpointConfig"):
            kept = container.path(checkpoints.get("LocalPath", CHECKPOINTS))
            kept.mkdir(parents=True)
            with contextlib.suppress(files.NoObjectsError):  # there are none yet
                files.download(self.store.aws("s3", job["RoleArn"]), {"S3Uri": checkpoints["S3Uri"]}, kept)
        config = container.ml / "input" / "config"
        (config / "hyperparameters.json").write_text(container.mapped(json.dumps(job.get("HyperParameters", {}))))
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        (config / "resourceconfig.json").write_text(_resources(host, hosts))

    def _run_instance(self, container: Container, job: Resource) -> Ended:
        """How the instance's program ended; its checkpoints are in the bucket, and if it failed the others end too."""
        # The toolkit that SageMaker's framework images run: it fetches the code and starts the program.
        toolkit = str(Path(sys.executable).parent / "train")
        environment = {
            **job.get("Environment", {}),
            **self.store.access.environment(job["RoleArn"]),
            "SAGEMAKER_BASE_DIR": "/opt/ml",
            "SAGEMAKER_REGION": self.store.region,
            "TRAINING_JOB_NAME": job["TrainingJobName"],
        }
        ended = container.run([toolkit], environment, job["StoppingCondition"]["MaxRuntimeInSeconds"])
        if checkpoints := job.get("CheckpointConfig"):
            folder = container.path(checkpoints.get("LocalPath", CHECKPOINTS))
            files.upload(self.store.aws("s3", job["RoleArn"]), folder, checkpoints["S3Uri"])
        if ended.code:
            for other in self._running.get(job["TrainingJobName"], []):
                other.stop()
        return ended

    def _keep(self, job: Resource, folders: list[Path], uri: str) -> None:
        """What the folders hold lies together at the URI as a tar.gz."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
            for folder in folders:
                for file in sorted(folder.rglob("*")):
                    tar.add(file, arcname=file.relative_to(folder).as_posix(), recursive=False)
        bucket, key = files.split(uri)
        self.store.aws("s3", job["RoleArn"]).put_object(Bucket=bucket, Key=key, Body=packed.getvalue())

    # Both -------------------------------------------------------------------------------------------------------------

    def _add(self, kind: str, name: str, path: str, what: str, params: Resource) -> Resource:
        arn = self.store.arn(f"{path}/{name.lower()}")
        now = self.store.clock.now()
        job = {**params, f"{what}Arn": arn, f"{what}Status": "InProgress", "CreationTime": now, "LastModifiedTime": now}
        with self.store.lock:
            if name in self.store.kinds[kind]:
                raise ApiError("ResourceInUse", f"Job name must be unique within an AWS account and region: {arn}")
            self.store.kinds[kind][name] = job
            self.store.kinds["tags"][arn] = {"Tags": job.pop("Tags", [])}
        return job

    def _find(self, kind: str, path: str, name: str) -> Resource:
        missing = could_not_find("requested job with name", self.store.arn(f"{path}/{name}"))
        known = {job.lower(): job for job in list(self.store.kinds[kind])}  # an ARN spells its job's name in lower case
        return self.store.find(kind, known.get(name.lower(), name), missing)

    def _list(self, kind: str, what: str, params: Resource) -> tuple[list[Resource], Resource]:
        found, more = page(self.store.each(kind), params, what, order="Ascending")
        ends = (
            ("ProcessingEndTime", "FailureReason", "ExitMessage") if what == "ProcessingJob" else ("TrainingEndTime",)
        )
        names = (f"{what}Name", f"{what}Arn", "CreationTime", "LastModifiedTime", f"{what}Status", *ends)
        return [pick(job, *names) for job in found], more

    def _stop(self, job: Resource, what: str) -> Resource:
        with self.store.lock:
            if job[f"{what}Status"] != "InProgress":
                raise ApiError("ValidationException", f"The request was rejected because the {what} is not running.")
            job[f"{what}Status"] = "Stopping"
            if what == "TrainingJob":
                job["SecondaryStatus"] = "Stopping"
            containers = self._running.get(job[f"{what}Name"], [])
        for container in containers:
            container.stop()
        return {}

    def _begin(self, job: Resource, what: str, containers: list[Container]) -> bool:
        """The job runs; false if it was stopped while it waited for its place, and is Stopped now."""
        with self.store.lock:
            self._running[job[f"{what}Name"]] = containers
            stopped = job[f"{what}Status"] == "Stopping"
        if stopped:
            self._finish(job, what, "Stopped")
            return False
        job["ProcessingStartTime" if what == "ProcessingJob" else "TrainingStartTime"] = self.store.clock.now()
        if what == "TrainingJob":
            job["SecondaryStatus"] = "Training"
        return True

    def _end(self, job: Resource, what: str, ended: Ended, reason: str) -> None:
        if job[f"{what}Status"] == "Stopping":
            self._finish(job, what, "Stopped")
        elif ended.overdue:
            self._finish(job, what, "Stopped", "MaxRuntimeExceeded")
        elif ended.code == 0:
            self._finish(job, what, "Completed")
        else:
            detail = f"{reason.strip()}, exit code: {ended.code}" if reason else f", exit code: {ended.code}"
            self._fail(job, what, f"AlgorithmError: {detail}")

    def _fail(self, job: Resource, what: str, reason: str) -> None:
        job["FailureReason"] = reason[:MESSAGE_LIMIT]
        self._finish(job, what, "Failed")

    def _finish(self, job: Resource, what: str, status: str, secondary: str | None = None) -> None:
        now = self.store.clock.now()
        job["ProcessingEndTime" if what == "ProcessingJob" else "TrainingEndTime"] = now
        job["LastModifiedTime"] = now
        if what == "TrainingJob":
            job["SecondaryStatus"] = secondary or status
            if "TrainingStartTime" in job:
                took = max(1, round((now - job["TrainingStartTime"]).total_seconds()))
                job["TrainingTimeInSeconds"] = job["BillableTimeInSeconds"] = took
        self._running.pop(job[f"{what}Name"], None)
        job[f"{what}Status"] = status  # last: whoever waits for it reads the rest

    def _log(self, group: str, job: Resource, name: str, ended: Ended, number: int = 1) -> None:
        logs.keep(
            self.store.aws("logs", job["RoleArn"]), f"{logs.GROUP}/{group}", f"{name}/algo-{number}", ended.output
        )

    def stop_all(self) -> None:
        """No job process is left, and none begins any more."""
        for kind, what in KINDS.items():
            for job in self.store.each(kind):
                if job[f"{what}Status"] == "InProgress":
                    self._stop(job, what)

    def resume(self) -> None:
        """Jobs that the end of the last process cut short are Failed."""
        for kind, what in KINDS.items():
            for job in self.store.each(kind):
                if not settled(job[f"{what}Status"]):
                    self._fail(job, what, INTERRUPTED)


def _resources(current: str, hosts: list[str]) -> str:
    """resourceconfig.json of an instance; a host name that is not known would be looked up for minutes."""
    return json.dumps({"current_host": current, "hosts": hosts, "network_interface_name": "lo"})


def _said(error: files.NoObjectsError | ClientError) -> str:
    """What the job's FailureReason says of data that could not be moved."""
    return str(error) if isinstance(error, files.NoObjectsError) else f"ClientError: {error}"


def settled(status: Any) -> bool:
    """A job's status that will not change any more."""
    return status in {"Completed", "Failed", "Stopped"}
