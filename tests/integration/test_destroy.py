"""Removal of a stack and its buckets, which can be resumed after a failure."""

from __future__ import annotations

import json

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from infra import destroy
from infra.stacks import CannotBeDone

TEMPLATE = {
    "Resources": {
        name: {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Retain",  # as on AWS: buckets outlive their stack
            "Properties": {"BucketName": f"their-{name.lower()}"},
        }
        for name in ("Images", "Labels")
    }
    | {
        "Queue": {"Type": "AWS::SQS::Queue"},
    }
}


@pytest.fixture
def cloud():
    with mock_aws():
        boto3.client("cloudformation").create_stack(
            StackName="digits", TemplateBody=json.dumps(TEMPLATE)
        )
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="somebody-elses")
        s3.put_bucket_versioning(
            Bucket="their-images", VersioningConfiguration={"Status": "Enabled"}
        )
        for body in (b"old", b"new"):
            s3.put_object(Bucket="their-images", Key="a.png", Body=body)
        s3.delete_object(Bucket="their-images", Key="a.png")
        s3.create_multipart_upload(Bucket="their-images", Key="never-ended.png")
        yield s3


def run(*arguments: str, answer: str = ""):
    return CliRunner().invoke(destroy.app, arguments, input=answer, catch_exceptions=True)


def stacks() -> list[str]:
    found = boto3.client("cloudformation").describe_stacks()["Stacks"]
    return [it["StackName"] for it in found]


def buckets(s3) -> set[str]:
    return {it["Name"] for it in s3.list_buckets()["Buckets"]}


def test_an_answer_other_than_the_stacks_name_removes_nothing(cloud):
    done = run("--stack", "digits", answer="yes\n")
    assert isinstance(done.exception, CannotBeDone)
    assert "their-images with 3 versions" in done.output
    assert stacks() == ["digits"]
    assert buckets(cloud) == {"their-images", "their-labels", "somebody-elses"}


def test_a_missing_stack_is_reported(cloud):
    done = run("--stack", "other", "--yes")
    assert isinstance(done.exception, CannotBeDone)
    assert "no stack other" in str(done.exception)


def test_the_stack_and_every_version_in_its_buckets_are_removed(cloud):
    done = run("--stack", "digits", answer="digits\n")
    assert done.exit_code == 0, done.output
    assert stacks() == []
    assert buckets(cloud) == {"somebody-elses"}


def test_keep_data_keeps_the_buckets(cloud):
    assert run("--stack", "digits", "--yes", "--keep-data").exit_code == 0
    assert stacks() == []
    assert "their-images" in buckets(cloud)


def test_an_interrupted_removal_is_finished_by_running_again(cloud):
    run("--stack", "digits", "--yes", "--keep-data")
    cloud.delete_objects(  # the state in which the first run was interrupted
        Bucket="their-images",
        Delete={"Objects": [{"Key": "a.png", "VersionId": version(cloud)}]},
    )
    assert run("--stack", "digits", "--yes").exit_code == 0
    assert buckets(cloud) == {"somebody-elses"}
    again = run("--stack", "digits", "--yes")
    assert "no bucket of one" in str(again.exception)


def version(s3) -> str:
    return s3.list_object_versions(Bucket="their-images")["Versions"][0]["VersionId"]
