"""The loop that a tutorial shows: boto3, requests, one message after the other."""

import json
import os
import sys

import boto3
import requests

_TIMEOUT_SECONDS = 30


def main() -> None:
    """Runs until it is terminated."""
    url = os.environ["AWS_ENDPOINT_URL_SQS"]
    sqs, queue = boto3.client("sqs"), f"{url}messages.fifo"
    sys.stdout.write('{"event.action":"ready"}\n')
    sys.stdout.flush()
    while True:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20, VisibilityTimeout=60)
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])["body"]
            taken = requests.post(body["url"], data=body["content"], headers=body["headers"], timeout=_TIMEOUT_SECONDS)
            if taken.ok:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


if __name__ == "__main__":
    main()
