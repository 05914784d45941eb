"""Removing a stack takes what was asked for, in an order in which nothing is lost by a failure."""

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
            "DeletionPolicy": "Retain",  # as on AWS: they outlive their stack
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


def test_another_answer_than_the_stacks_name_removes_nothing(cloud):
    done = run("--stack", "digits", answer="yes\n")
    assert isinstance(done.exception, CannotBeDone)
    assert "their-images with 3 versions" in done.output
    assert stacks() == ["digits"]
    assert buckets(cloud) == {"their-images", "their-labels", "somebody-elses"}


def test_no_stack_is_one_line_that_says_so(cloud):
    done = run("--stack", "other", "--yes")
    assert isinstance(done.exception, CannotBeDone)
    assert "no stack other" in str(done.exception)


def test_the_stack_goes_and_then_its_buckets_with_every_version_and_no_other(cloud):
    done = run("--stack", "digits", answer="digits\n")
    assert done.exit_code == 0, done.output
    assert stacks() == []
    assert buckets(cloud) == {"somebody-elses"}


def test_data_can_be_kept(cloud):
    assert run("--stack", "digits", "--yes", "--keep-data").exit_code == 0
    assert stacks() == []
    assert "their-images" in buckets(cloud)


def test_what_was_cut_off_after_the_stack_is_done_by_running_it_again(cloud):
    run("--stack", "digits", "--yes", "--keep-data")
    cloud.delete_objects(  # as far as the first run came
        Bucket="their-images",
        Delete={"Objects": [{"Key": "a.png", "VersionId": version(cloud)}]},
    )
    assert run("--stack", "digits", "--yes").exit_code == 0
    assert buckets(cloud) == {"somebody-elses"}
    again = run("--stack", "digits", "--yes")
    assert "no bucket of one" in str(again.exception)


def version(s3) -> str:
    return s3.list_object_versions(Bucket="their-images")["Versions"][0]["VersionId"]
