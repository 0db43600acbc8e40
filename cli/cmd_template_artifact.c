/* SPDX-License-Identifier: Apache-2.0 */
/* template export, import */
#include <mvm/artifact.h>
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"

static int print_json(const struct mvm_artifact_result *r, bool received)
{
	AUTO_DONE(jsonw) j = { 0 };

	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "template_id", r->template_id);
	jsonw_string(&j, "revision_hash", r->revision);
	jsonw_string(&j, "digest", r->digest);
	jsonw_bool(&j, "has_snapshot", r->has_snapshot);
	if (received) {
		jsonw_bool(&j, "new_revision", r->new_revision);
		jsonw_bool(&j, "new_snapshot", r->new_snapshot);
		jsonw_u64(&j, "reused_bytes", r->reused_bytes);
	}
	jsonw_u64(&j, "file_bytes", r->file_bytes);
	jsonw_u64(&j, "blob_bytes", r->blob_bytes);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int export(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	const struct mvm_export_options options = {
		.size = sizeof(options),
		.image_only = args_flag(a, "image-only"),
		.force = args_flag(a, "force"),
		.tag = args_string(a, "tag"),
	};
	char blobs[24];

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_export(mvm, args_at(a, 0), args_at(a, 1), &options, &c->progress,
					&result, &c->err);
	if (r < 0)
		return r;
	if (c->json)
		return print_json(&result, false);
	str_bytes(result.blob_bytes, blobs, sizeof(blobs));
	printf("%s@%s  %s, %s, %s\n", result.template_id, result.revision, result.digest,
	       result.has_snapshot ? "with its snapshot" : "without a snapshot", blobs);
	return 0;
}

static int import(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	const struct mvm_import_options options = {
		.size = sizeof(options),
		.image_only = args_flag(a, "image-only"),
		.no_wait = args_flag(a, "no-wait"),
		.tag = args_string(a, "tag"),
		.id = args_at(a, 1),
	};

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_import(mvm, args_at(a, 0), &options, &c->progress, &result,
					&c->err);
	if (r < 0)
		return r;
	if (result.new_snapshot)
		note(c, "no key that you trust has signed the snapshot, so VMs boot; 'mvm template "
			"snapshot' makes one here");
	if (c->json)
		return print_json(&result, true);
	const char *snapshot = result.has_snapshot ? "kept" : "no";
	printf("%s@%s  %s, %s snapshot\n", result.template_id, result.revision,
	       result.new_revision ? "new" : "unchanged", result.new_snapshot ? "new" : snapshot);
	return 0;
}

#define OPTION_TAG(text)                                                                           \
	{                                                                                          \
		.name = "tag", .kind = OPTION_STRING, .value = "TAG", .help = (text)               \
	}

#define OPTION_IMAGE_ONLY                                                                          \
	{                                                                                          \
		.name = "image-only", .kind = OPTION_FLAG, .help = "leave the snapshot out"        \
	}

static const struct option export_options[] = {
	OPTION_IMAGE_ONLY,
	OPTION_TAG("the artifact's tag in the file (default: the template's name)"),
	{ .name = "force", .letter = 'f', .kind = OPTION_FLAG, .help = "replace an existing file" },
	OPTION_JSON,
	{ 0 },
};

static const struct option import_options[] = {
	OPTION_IMAGE_ONLY,
	OPTION_TAG("which of the file's artifacts"),
	{ .name = "no-wait",
	  .kind = OPTION_FLAG,
	  .help = "fail if another command works on the template" },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_export = {
	.path = "template export",
	.summary = "Write a revision and its snapshot to a file",
	.details = "The file is an OCI image layout as a tar: skopeo, oras and other tools copy "
		   "it to a registry and back. The same revision with the same snapshot gives the "
		   "same digest on every host. A part of it is a file of the revision, compressed "
		   "by zstd.",
	.examples = "mvm template export http-worker http-worker.tar\n"
		    "mvm template export http-worker@3f2a image.tar --image-only",
	.positionals = { { .name = "ID[@REV]",
			   .help = "a template, or one of its revisions",
			   .hint = VALUE_REFERENCE },
			 { .name = "FILE", .help = "the file to write", .hint = VALUE_FILE } },
	.options = export_options,
	.run = export,
};

const struct command command_template_import = {
	.path = "template import",
	.summary = "Read a revision and its snapshot from a file",
	.details = "FILE is what 'mvm template export' wrote, or a folder with an OCI image "
		   "layout. Its revision becomes the current one of TEMPLATE, which is made if "
		   "there is none of that name. Nothing is published before every part was "
		   "compared with its digest.\n\nA snapshot is a running program, so VMs boot "
		   "instead of starting from one that another host made.",
	.examples = "mvm template import http-worker.tar\n"
		    "mvm template import http-worker.tar http-copy --image-only",
	.positionals = { { .name = "FILE", .help = "the file or folder", .hint = VALUE_FILE },
			 { .name = "TEMPLATE",
			   .help = "a template, or the name of a new one (default: the "
				   "artifact's tag)",
			   .optional = true,
			   .hint = VALUE_TEMPLATE } },
	.options = import_options,
	.run = import,
};
