"""The handler of the multi-model server in SageMaker's XGBoost image, on sagemaker-inference, without the server.

Reads one request per line of standard input, `{"body", "content_type", "accept"}`, and answers each with one line:
`{"status", "content_type", "body"}`. The server itself is Java; it hands a request over as here and sends back what
the context was told.
"""

import json
import sys

from sagemaker_inference.transformer import Transformer


class Context:
    """What the model server gives to the handler, and hears from it."""

    def __init__(self, model_dir, headers):
        self.system_properties = {"model_dir": model_dir}
        self.request_processor = [self]
        self.headers, self.status, self.content_type = headers, 200, None

    def get_request_properties(self):
        return self.headers

    def set_response_content_type(self, _index, value):
        self.content_type = value

    def set_response_status(self, code=200, phrase="", idx=0):
        self.status = code


def main(model_dir):
    transformer = Transformer()
    for line in sys.stdin:
        request = json.loads(line)
        headers = {"Content-Type": request["content_type"], "Accept": request["accept"]}
        context = Context(model_dir, headers)
        (body,) = transformer.transform([{"body": request["body"].encode()}], context)
        print(json.dumps({"status": context.status, "content_type": context.content_type, "body": body}), flush=True)


main(sys.argv[1])
