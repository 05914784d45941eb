"""Properties of `template.yaml` that AWS requires and the local cloud does not check."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from digits.labels import feedback
from digits.labels.label import label_key
from infra.templates import Stack
from lambda_predict import openapi
from lambda_predict.config import Settings
from lambda_predict.schemas import UPLOAD_KEY
from tests.gateway import is_binary
from tests.templates import (
    as_list,
    assert_definition_is_valid,
    assert_every_placeholder_is_substituted,
    assert_sam_validates,
    load,
    mentions,
    of_type,
    properties,
    render,
    rights,
    statements,
    steps,
)

ROOT = Path(__file__).parents[2]
BACKFILL = ROOT / "infra/backfill.asl.json"
FUNCTIONS = ("HttpApiFunction", "S3LabelsFunction", "BackfillFunction", "SweepFunction")
ROLES = ("HttpApiRole", "S3LabelsRole", "SweepRole")
BUCKETS = ("ImagesBucket", "LabelsBucket", "ModelsBucket")
QUEUES = ("LabelsQueue", "RetryQueue", "DeadLetterQueue")
UNVERSIONED = (
    "Tags",
    "ReservedConcurrentExecutions",
)  # properties of the function, not of its versions


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return load(ROOT / "template.yaml")


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    return template["Resources"]


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    return render()


def test_sam_validates_the_template() -> None:
    assert_sam_validates(ROOT / "template.yaml")


# --- Buckets ---


def test_the_queue_policy_is_created_before_the_images_bucket(resources):
    assert "LabelsQueuePolicy" in as_list(resources["ImagesBucket"]["DependsOn"])
    policy = properties(resources, "LabelsQueuePolicy")
    assert not mentions(policy, "ImagesBucket"), (
        "a circular dependency: the bucket depends on this policy"
    )


def test_only_s3_in_this_account_may_send_to_the_queue(resources):
    policy = properties(resources, "LabelsQueuePolicy")["PolicyDocument"]
    allowed = [it for it in policy["Statement"] if it["Effect"] == "Allow"]
    assert len(allowed) == 1
    assert allowed[0]["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allowed[0]["Action"] == "sqs:SendMessage"
    assert allowed[0]["Condition"]["StringEquals"] == {
        "aws:SourceAccount": {"Ref": "AWS::AccountId"}
    }


def test_the_queue_is_notified_of_every_creation_removal_and_restore(rendered):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html"""
    configuration = properties(rendered, "ImagesBucket")["NotificationConfiguration"]
    assert set(configuration) == {"QueueConfigurations"}
    assert {it["Event"] for it in configuration["QueueConfigurations"]} == {
        "s3:ObjectCreated:*",
        "s3:ObjectRemoved:*",
        "s3:LifecycleExpiration:*",
        "s3:ObjectRestore:Completed",
    }
    assert all(mentions(it["Queue"], "LabelsQueue") for it in configuration["QueueConfigurations"])


def test_cors_allows_only_puts_of_presigned_uploads(resources):
    (rule,) = properties(resources, "ImagesBucket")["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedMethods"] == ["PUT"]
    assert rule["AllowedOrigins"] == [{"Ref": "CorsOrigin"}]
    # The signed headers; browsers always send Content-Length.
    assert rule["AllowedHeaders"] == ["Content-Type", "If-None-Match", "x-amz-meta-digits-mode"]
    for name in ("LabelsBucket", "ModelsBucket"):
        assert "CorsConfiguration" not in properties(resources, name)


def test_only_the_images_bucket_sends_notifications(resources):
    assert set(of_type(resources, "AWS::S3::Bucket")) == set(BUCKETS)
    for name in ("LabelsBucket", "ModelsBucket"):
        assert "NotificationConfiguration" not in properties(resources, name)


def test_only_uploads_expire(rendered):
    rules = properties(rendered, "ImagesBucket")["LifecycleConfiguration"]["Rules"]
    (expiring,) = (it for it in rules if "ExpirationInDays" in it)
    assert (expiring["Prefix"], expiring["ExpirationInDays"]) == ("uploads/", 30)
    assert expiring["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert {it["Status"] for it in rules} == {"Enabled"}
    labels = properties(rendered, "LabelsBucket")["LifecycleConfiguration"]["Rules"]
    assert labels == [it for it in rules if it is not expiring]


def test_an_alarm_watches_the_size_of_the_images_bucket(rendered):
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/metrics-dimensions.html"""
    alarm = properties(rendered, "ImagesBucketSizeAlarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/S3", "BucketSizeBytes")
    assert alarm["Dimensions"] == [
        {"Name": "BucketName", "Value": {"Ref": "ImagesBucket"}},
        {"Name": "StorageType", "Value": "StandardStorage"},
    ]
    assert alarm["Period"] == 24 * 3600
    assert alarm["Threshold"] == {"Fn::Sub": "${ImagesBucketAlarmGB}000000000"}
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


def test_the_size_limit_of_that_alarm_is_a_whole_number(template, resources):
    parameter = template["Parameters"]["ImagesBucketAlarmGB"]
    assert parameter["Type"] == "String", "only a string has a pattern"
    for given, taken in (("100", True), ("999999", True), ("100.5", False), ("1e3", False)):
        assert bool(re.search(parameter["AllowedPattern"], given)) is taken
    for given in ("0", "", "0100", "1000000"):
        assert not re.search(parameter["AllowedPattern"], given)
    stack = Stack(template, {"ImagesBucketAlarmGB": "250"})
    assert stack.value(properties(resources, "ImagesBucketSizeAlarm")["Threshold"]) == str(
        250 * 10**9
    )


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_private_encrypted_and_versioned(resources, name):
    bucket = properties(resources, name)
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_retained_and_has_no_fixed_name(resources, name):
    assert resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resources[name]["UpdateReplacePolicy"] == "Retain"
    assert "BucketName" not in properties(resources, name)


@pytest.mark.parametrize("name", BUCKETS + QUEUES)
def test_buckets_and_queues_refuse_unencrypted_transport(resources, name):
    policies = {
        **of_type(resources, "AWS::S3::BucketPolicy"),
        **of_type(resources, "AWS::SQS::QueuePolicy"),
    }
    guards = [
        statement
        for policy in policies.values()
        if mentions(policy.get("Bucket", policy.get("Queues")), name)
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    ]
    assert len(guards) == 1
    assert guards[0]["Principal"] == "*"
    assert guards[0]["Action"] in ("s3:*", "sqs:*")
    assert guards[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    if name in BUCKETS:
        assert guards[0]["Resource"] == [
            {"Fn::GetAtt": [name, "Arn"]},
            {"Fn::Sub": f"${{{name}.Arn}}/*"},
        ]


# --- Queue ---


@pytest.mark.parametrize("name", QUEUES)
def test_queues_use_encryption_managed_by_sqs(resources, name):
    queue = properties(resources, name)
    assert queue["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in queue


@pytest.mark.parametrize(
    ("event", "queue"), [("Images", "LabelsQueue"), ("Returned", "RetryQueue")]
)
def test_the_visibility_timeout_covers_six_function_timeouts(resources, event, queue):
    function = properties(resources, "S3LabelsFunction")
    source = function["Events"][event]["Properties"]
    assert mentions(source["Queue"], queue)
    window = source.get("MaximumBatchingWindowInSeconds", 0)
    visibility = properties(resources, queue)["VisibilityTimeout"]
    assert visibility >= 6 * function["Timeout"] + window


def test_a_failed_message_is_retried_alone_and_then_becomes_a_dead_letter(resources):
    """An image that kills the function returns its batch once; then it is retried alone."""
    first, again = (properties(resources, name) for name in QUEUES[:2])
    assert first["RedrivePolicy"]["maxReceiveCount"] == 1
    assert mentions(first["RedrivePolicy"]["deadLetterTargetArn"], "RetryQueue")
    returned = properties(resources, "S3LabelsFunction")["Events"]["Returned"]["Properties"]
    assert returned["BatchSize"] == 1
    assert again["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert mentions(again["RedrivePolicy"]["deadLetterTargetArn"], "DeadLetterQueue")


def test_the_retention_period_grows_from_queue_to_queue(resources):
    """A message's age counts from when S3 sent it, whichever queue it is in."""
    kept = [properties(resources, name)["MessageRetentionPeriod"] for name in QUEUES]
    assert kept == sorted(set(kept))
    assert kept[-1] == 14 * 24 * 3600


def test_the_first_dead_letter_raises_an_alarm(resources):
    alarm = properties(resources, "DeadLettersAlarm")
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert mentions(alarm["Dimensions"], "DeadLetterQueue")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert alarm["EvaluationPeriods"] == 1
    assert mentions(alarm["AlarmActions"], "AlarmTopic")


def test_failures_are_reported_per_message_and_concurrency_is_bounded(rendered):
    mappings = of_type(rendered, "AWS::Lambda::EventSourceMapping").values()
    bounds = [it["ScalingConfig"]["MaximumConcurrency"] for it in mappings]
    assert bounds == [{"Ref": "LabelConcurrency"}, 2], "AWS takes no less than 2"
    for mapping in mappings:
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["FunctionName"] == {"Ref": "S3LabelsFunctionAliaslive"}


# --- Functions ---


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_an_explicit_role_of_its_own(resources, rendered, name):
    function = properties(resources, name)
    role = function["Role"]["Fn::GetAtt"][0]
    assert "Policies" not in function
    assert "ManagedPolicyArns" not in properties(resources, role)
    roles = {
        it["Role"]["Fn::GetAtt"][0] for it in of_type(rendered, "AWS::Lambda::Function").values()
    }
    assert set(of_type(rendered, "AWS::IAM::Role")) == roles | {"BackfillMachineRole"}
    assert len(roles) == len(FUNCTIONS)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_wildcard_action_or_resource(resources, role):
    for action, resource in rights(resources, role):
        assert "*" not in action
        assert resource != "*" or action.startswith("xray:"), f"{action} on everything"


@pytest.mark.parametrize("role", ["HttpApiRole", "S3LabelsRole"])
def test_no_function_may_write_to_its_own_trigger(resources, role):
    reading = ("s3:Get", "s3:List")
    for action, resource in rights(resources, role):
        # An upload triggers the other function, never the one that signed its address.
        uploads = role == "HttpApiRole" and resource == "ImagesBucket.Arn/uploads/*"
        if resource.startswith(("ImagesBucket", "ModelsBucket")) and not uploads:
            assert action.startswith(reading), f"{action} on {resource}"
        assert action != "sqs:SendMessage"


def test_the_api_may_list_only_uploads_and_their_labels(resources):
    listing = {
        it["Resource"]["Fn::GetAtt"][0]: it.get("Condition")
        for it in statements(resources, "HttpApiRole")
        if it["Action"] == "s3:ListBucket"
    }
    assert listing == {
        "ModelsBucket": None,
        "ImagesBucket": {"StringLike": {"s3:prefix": "uploads/*"}},
        "LabelsBucket": {"StringLike": {"s3:prefix": "labels/uploads/*"}},
    }


def test_key_prefixes_in_the_code_match_the_api_role():
    assert label_key("uploads/a").startswith("labels/uploads/")
    assert UPLOAD_KEY.startswith("^uploads/")
    assert feedback.PREFIX == "feedback/"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_changed_parameter_publishes_a_new_function_version(template, resources, rendered, name):
    """SAM publishes no version for a new parameter value alone, so the description contains it."""
    assert properties(resources, name)["AutoPublishAliasAllProperties"] is True
    made_of = {
        key: value for key, value in properties(rendered, name).items() if key not in UNVERSIONED
    }
    description = properties(resources, name)["VersionDescription"]
    used = {parameter for parameter in template["Parameters"] if mentions(made_of, parameter)}
    assert "Architecture" in used
    assert {it for it in template["Parameters"] if mentions(description, it)} == used
    (version,) = (it for key, it in rendered.items() if key.startswith(f"{name}Version"))
    assert version["Properties"]["Description"] == description


def test_a_changed_cors_origin_redeploys_the_api(resources):
    """The id of the API's deployment depends on the template's text, not on parameter values."""
    assert mentions(properties(resources, "Api"), "CorsOrigin")
    assert properties(resources, "Api")["AlwaysDeploy"] is True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_old_function_versions_are_deleted(rendered, name):
    assert properties(rendered, name)["Runtime"] == "python3.13"
    (version,) = (it for key, it in rendered.items() if key.startswith(f"{name}Version"))
    assert version["DeletionPolicy"] == "Delete"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_traced_and_its_logs_expire(template, rendered, name):
    function = properties(rendered, name)
    assert function["TracingConfig"] == {"Mode": "Active"}
    logs = function["LoggingConfig"]["LogGroup"]["Ref"]
    retention = properties(template["Resources"], logs)["RetentionInDays"]
    assert retention == {"Fn::FindInMap": ["ByStage", {"Ref": "Stage"}, "LogRetentionInDays"]}
    assert set(template["Mappings"]["ByStage"]) == set(
        template["Parameters"]["Stage"]["AllowedValues"]
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_gets_only_the_settings_that_it_uses(rendered, name):
    function = properties(rendered, name)
    variables = function["Environment"]["Variables"]
    given = {key.removeprefix("DIGITS_").lower() for key in variables if key.startswith("DIGITS_")}
    assert given <= set(Settings.model_fields)
    own = {
        "HttpApiFunction": {"cors_origin", "digit_metrics", "images_bucket", "labels_bucket"},
        "S3LabelsFunction": {"digit_metrics", "labels_bucket", "label_mode"},
        "BackfillFunction": {
            *("images_bucket", "labels_bucket", "labels_queue_url", "label_mode"),
            "digit_metrics",
        },
        "SweepFunction": {"images_bucket", "labels_bucket", "labels_queue_url"},
    }
    assert given == {"models", "model_refresh_seconds"} | own[name]
    module = function["Handler"].removesuffix(".handler").replace(".", "/")
    assert (ROOT / f"{module}.py").exists()


def test_canary_deployment_is_off_by_default_and_rolls_back_on_alarms(rendered):
    assert not of_type(rendered, "AWS::CodeDeploy::DeploymentGroup")
    groups = of_type(render(CanaryDeployment="true"), "AWS::CodeDeploy::DeploymentGroup")
    assert len(groups) == len(FUNCTIONS)
    for group in groups.values():
        alarms = [it["Name"]["Ref"] for it in group["AlarmConfiguration"]["Alarms"]]
        assert alarms == ["HttpApiErrorsAlarm", "S3LabelsErrorsAlarm"]


# --- Backfill ---


@pytest.fixture(scope="module")
def backfill() -> dict[str, Any]:
    """Return the states of the backfill, substituted as on AWS."""
    return steps(BACKFILL, Partition="aws", Concurrency="7")["States"]


def test_the_backfill_definition_is_fully_substituted_and_valid(rendered, tmp_path):
    assert_every_placeholder_is_substituted(rendered, "Backfill", BACKFILL)
    assert_definition_is_valid(steps(BACKFILL, Partition="aws", Concurrency="7"), tmp_path)
    given = properties(rendered, "Backfill")["DefinitionSubstitutions"]
    assert given["Concurrency"] == {"Ref": "BackfillConcurrency"}
    assert given["Worker"] == {"Ref": "BackfillFunctionAliaslive"}
    assert "arn:aws" not in BACKFILL.read_text(), "ARNs must use the partition of the stack"


def test_the_backfill_processes_prefixes_and_inventories_alike(backfill):
    own = ("Comment", "ItemReader", "ItemSelector")
    prefix, inventory = (
        {key: it for key, it in backfill[name].items() if key not in own}
        for name in ("LabelPrefix", "LabelInventory")
    )
    assert prefix == inventory


@pytest.mark.parametrize("name", ["LabelPrefix", "LabelInventory"])
def test_a_backfill_batch_fits_the_five_minutes_of_an_express_workflow(resources, backfill, name):
    """https://docs.aws.amazon.com/step-functions/latest/dg/concepts-standard-vs-express.html"""
    time_out = properties(resources, "BackfillFunction")["Timeout"]
    processor = backfill[name]["ItemProcessor"]
    assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}
    label, hand_over = processor["States"]["Label"], processor["States"]["HandOver"]
    throttled, other = label["Retry"]
    assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
    assert other["ErrorEquals"] == ["States.ALL"]
    assert (1 + other["MaxAttempts"]) * time_out + waits(throttled) + waits(other) <= 300 - 60
    assert label["Catch"][0]["ErrorEquals"] == ["States.ALL"]
    assert label["Catch"][0]["Next"] == "HandOver", (
        "images that no attempt could label are sent to the queue"
    )
    assert hand_over["Retry"] == label["Retry"]


def waits(retry: dict[str, Any]) -> float:
    """Return the longest total wait of a retry rule in seconds."""
    longest = retry.get("MaxDelaySeconds", float("inf"))
    assert retry["JitterStrategy"] == "FULL", (
        "without jitter, all failed batches return at the same time"
    )
    return sum(
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt, longest)
        for attempt in range(retry["MaxAttempts"])
    )


@pytest.mark.parametrize("name", ["LabelPrefix", "LabelInventory"])
def test_a_backfill_bounds_concurrency_and_reports_failed_batches_at_the_end(backfill, name):
    """MaxConcurrency must be substituted as a number: Step Functions refuses "7"."""
    assert backfill[name]["MaxConcurrency"] == 7
    assert 0 < backfill[name]["ToleratedFailurePercentage"] <= 10
    path, state = [], name
    while following := backfill[state].get("Next"):
        path.append(following)
        state = following
    assert path == ["FindRun", "CountFailures", "AllDone"]
    (failed,) = backfill["AllDone"]["Choices"]
    assert {(it["Variable"], it["NumericGreaterThan"]) for it in failed["Or"]} == {
        (f"$.{count.removesuffix('.$')}", 0)
        for count in backfill["CountFailures"]["ResultSelector"]
    }
    assert backfill[failed["Next"]]["Type"] == "Fail"
    assert backfill[backfill["AllDone"]["Default"]] == {"Type": "Succeed"}


def test_the_backfill_role_has_exactly_the_rights_of_its_state_machine(resources):
    machine = "arn:AWS::Partition:states:AWS::Region:AWS::AccountId:"
    assert properties(resources, "Backfill")["Name"] == {"Fn::Sub": "${AWS::StackName}-backfill"}
    assert rights(resources, "BackfillMachineRole") == {
        ("xray:PutTraceSegments", "*"),
        ("xray:PutTelemetryRecords", "*"),
        ("xray:GetSamplingRules", "*"),
        ("xray:GetSamplingTargets", "*"),
        ("s3:ListBucket", "ImagesBucket.Arn"),
        ("s3:GetObject", "LabelsBucket.Arn/inventory/*"),
        ("s3:GetObject", "LabelsBucket.Arn/backfill/*"),
        ("s3:PutObject", "LabelsBucket.Arn/backfill/*"),
        ("s3:ListMultipartUploadParts", "LabelsBucket.Arn/backfill/*"),
        ("s3:AbortMultipartUpload", "LabelsBucket.Arn/backfill/*"),
        ("lambda:InvokeFunction", "BackfillFunction.Alias"),
        ("states:StartExecution", f"{machine}stateMachine:AWS::StackName-backfill"),
        ("states:DescribeMapRun", f"{machine}mapRun:AWS::StackName-backfill/*"),
        *(
            (f"states:{action}", f"{machine}execution:AWS::StackName-backfill{end}")
            for action in ("DescribeExecution", "StopExecution", "ListMapRuns")
            for end in (":*", "/*")
        ),
    }


# --- API ---


def calls(rendered: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.removeprefix("x-amazon-apigateway-").removesuffix("-method"), path): call
        for path, methods in properties(rendered, "Api")["Body"]["paths"].items()
        for method, call in methods.items()
    }


def test_v1_is_the_only_stage(rendered, template):
    (stage,) = of_type(rendered, "AWS::ApiGateway::Stage").values()
    assert stage["StageName"] == "v1"
    assert stage["TracingEnabled"] is True
    url = template["Outputs"]["ApiUrl"]["Value"]["Fn::Sub"]
    assert url.endswith("/${Api.Stage}")


def test_every_call_needs_the_key_except_public_ones_and_preflight(rendered):
    secured = {
        call for call, it in calls(rendered).items() if it.get("security") == [{"api_key": []}]
    }
    for_the_key = {
        ("post", "/classify"),
        ("post", "/uploads"),
        ("get", "/labels/{key+}"),
        ("post", "/feedback"),
        ("get", "/model"),
    }
    assert secured == for_the_key | {("any", path) for _, path in for_the_key}
    free = set(calls(rendered)) - secured
    for_all = ("/health", "/openapi.json", "/docs")
    paths = {path for _, path in for_the_key} | set(for_all)
    assert free == {("options", path) for path in paths} | {
        (method, path) for method in ("get", "any") for path in for_all
    }


def test_the_gateway_and_the_openapi_description_have_the_same_calls(rendered):
    described = {
        (method, path.replace("{key}", "{key+}"))
        for path, methods in openapi.document()["paths"].items()
        for method in methods
    }
    assert described == {call for call in calls(rendered) if call[0] not in ("any", "options")}


def test_the_key_has_a_usage_plan_and_every_call_is_throttled(rendered):
    (plan,) = of_type(rendered, "AWS::ApiGateway::UsagePlan").values()
    assert set(plan["Throttle"]) == {"RateLimit", "BurstLimit"}
    assert plan["Quota"]["Period"] == "DAY"
    assert of_type(rendered, "AWS::ApiGateway::UsagePlanKey")
    (stage,) = of_type(rendered, "AWS::ApiGateway::Stage").values()
    (setting,) = (it for it in stage["MethodSettings"] if it["ResourcePath"] == "/*")
    assert setting["HttpMethod"] == "*"
    assert setting["ThrottlingRateLimit"] == {"Ref": "ThrottleRate"}


def test_preflight_answers_allow_the_configured_origin(rendered):
    for path in ("/classify", "/health"):
        preflight = calls(rendered)["options", path]["x-amazon-apigateway-integration"]
        headers = preflight["responses"]["default"]["responseParameters"]
        prefix = "method.response.header.Access-Control-Allow"
        assert headers[f"{prefix}-Origin"] == {"Fn::Sub": "'${CorsOrigin}'"}
        assert "X-Api-Key" in headers[f"{prefix}-Headers"]
        assert "POST" in headers[f"{prefix}-Methods"]


def test_the_gateway_passes_images_as_bytes_and_json_as_text():
    for binary in (
        *("image/png", "image/avif", "application/octet-stream", "binary/octet-stream"),
        *(
            "multipart/form-data; boundary=XX",
            "application/x-www-form-urlencoded",
        ),  # curl's default
    ):
        assert is_binary(binary), binary
    for text in ("application/json", "application/json; charset=utf-8", "text/plain", ""):
        assert not is_binary(text), text


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("BAD_REQUEST_BODY", 400, "bad_request"),
        ("BAD_REQUEST_PARAMETERS", 400, "bad_request"),
        ("DEFAULT_4XX", 400, "bad_request"),
        ("INVALID_API_KEY", 403, "forbidden"),
        ("ACCESS_DENIED", 403, "forbidden"),
        ("WAF_FILTERED", 403, "forbidden"),
        ("MISSING_AUTHENTICATION_TOKEN", 404, "not_found"),
        ("RESOURCE_NOT_FOUND", 404, "not_found"),
        ("UNSUPPORTED_MEDIA_TYPE", 415, "unsupported_format"),
        ("THROTTLED", 429, "throttled"),
        ("QUOTA_EXCEEDED", 429, "throttled"),
        ("DEFAULT_5XX", 500, "internal_error"),
        ("INTEGRATION_TIMEOUT", 504, "timeout"),
    ],
)
def test_errors_of_the_gateway_are_problems_like_those_of_the_function(
    rendered, kind, status, code
):
    body = properties(rendered, "Api")["Body"]
    answer = body["x-amazon-apigateway-gateway-responses"][kind]
    assert int(answer["statusCode"]) == status
    headers = answer["responseParameters"]
    assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    assert headers["gatewayresponse.header.Access-Control-Allow-Origin"] == {
        "Fn::Sub": "'${CorsOrigin}'"
    }
    assert headers["gatewayresponse.header.X-Content-Type-Options"] == "'nosniff'"
    assert headers["gatewayresponse.header.Cache-Control"] == "'no-store'"
    assert headers["gatewayresponse.header.Referrer-Policy"] == "'no-referrer'"
    assert "max-age=" in headers["gatewayresponse.header.Strict-Transport-Security"]
    problem = json.loads(answer["responseTemplates"]["application/json"])
    assert set(problem) == {"type", "title", "status", "code", "detail", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == "$context.requestId"


def test_the_fixed_413_answer_of_the_gateway_is_not_overridden(rendered):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html"""
    answers = properties(rendered, "Api")["Body"]["x-amazon-apigateway-gateway-responses"]
    assert "REQUEST_TOO_LARGE" not in answers


def test_the_gateway_times_out_before_the_function(resources, rendered):
    timeout = properties(resources, "HttpApiFunction")["Timeout"]
    assert timeout <= 29
    for (method, path), call in calls(rendered).items():
        if method != "options":
            patience = call["x-amazon-apigateway-integration"]["timeoutInMillis"]
            assert patience < timeout * 1000, f"{method} {path}"


# --- Parameters ---


def test_optional_features_are_off_by_default(template, resources, rendered):
    defaults = {name: it["Default"] for name, it in template["Parameters"].items()}
    assert defaults["CanaryDeployment"] == defaults["Waf"] == defaults["AccessLogs"] == "false"
    assert defaults["ReservedConcurrency"] == defaults["MonthlyBudget"] == 0
    assert defaults["AlarmEmail"] == ""
    for name in ("Firewall", "FirewallBeforeApi"):
        assert resources[name]["Condition"] == "HasWaf"
    assert resources["ApiAccessLogs"]["Condition"] == "HasAccessLogs"
    assert resources["AlarmTopic"]["Condition"] == "HasAlarmEmail"
    nothing = {"Ref": "AWS::NoValue"}
    (stage,) = of_type(rendered, "AWS::ApiGateway::Stage").values()
    for switched, condition in (
        (stage["AccessLogSetting"], "HasAccessLogs"),
        (
            properties(rendered, "HttpApiFunction")["ReservedConcurrentExecutions"],
            "HasReservedConcurrency",
        ),
        (properties(resources, "DeadLettersAlarm")["AlarmActions"], "HasAlarmEmail"),
    ):
        assert (switched["Fn::If"][0], switched["Fn::If"][2]) == (condition, nothing)


def test_the_firewall_does_not_block_large_bodies(resources):
    groups = [
        rule["Statement"]["ManagedRuleGroupStatement"]
        for rule in properties(resources, "Firewall")["Rules"]
        if "ManagedRuleGroupStatement" in rule["Statement"]
    ]
    (common,) = (it for it in groups if it["Name"] == "AWSManagedRulesCommonRuleSet")
    counted = {
        it["Name"] for it in common["RuleActionOverrides"] if it["ActionToUse"] == {"Count": {}}
    }
    assert "SizeRestrictions_BODY" in counted


def test_every_parameter_has_a_description_a_default_and_bounds(template):
    for name, it in template["Parameters"].items():
        assert it["Description"], name
        assert "Default" in it, name
        assert {"AllowedValues", "AllowedPattern", "MinValue"} & set(it), name


def test_no_resource_has_a_fixed_physical_name(resources):
    """A name is generated by CloudFormation or starts with the stack's name."""
    fixed = ("BucketName", "QueueName", "FunctionName", "RoleName", "LogGroupName", "TopicName")
    for name, it in resources.items():
        assert not set(fixed) & set(it["Properties"]), name
    assert properties(resources, "Api")["Name"] == {"Ref": "AWS::StackName"}
