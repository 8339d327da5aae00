"""Stand-ins for two repositories that Bazel 4 would download and Debian does not have for it."""

def _stub_impl(context):
    for path, content in context.attr.files.items():
        context.file(path, content)

_stub = repository_rule(
    implementation = _stub_impl,
    attrs = {"files": attr.string_dict(doc = "Contents by path.")},
)

_CC_RULES = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
]

def stub_repositories():
    _stub(
        name = "rules_cc",
        files = {
            "cc/BUILD": "",
            "cc/defs.bzl": "\n".join(["%s = native.%s" % (rule, rule) for rule in _CC_RULES]),
        },
    )
    _stub(
        name = "remote_coverage_tools",
        files = {
            "BUILD": """filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)""",
        },
    )
