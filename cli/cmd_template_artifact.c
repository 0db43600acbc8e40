/* SPDX-License-Identifier: Apache-2.0 */
/* template export, import, push, pull, sign */
#include <mvm/artifact.h>
#include <stdio.h>
#include <string.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"

enum way { EXPORTED, PUSHED, RECEIVED };

static int print_json(const struct mvm_artifact_result *r, enum way way)
{
	AUTO_DONE(jsonw) j = { 0 };

	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "template_id", r->template_id);
	jsonw_string(&j, "revision_hash", r->revision);
	jsonw_string(&j, "digest", r->digest[0] ? r->digest : NULL);
	jsonw_bool(&j, "has_snapshot", r->has_snapshot);
	if (way == RECEIVED) {
		jsonw_bool(&j, "new_revision", r->new_revision);
		jsonw_bool(&j, "new_snapshot", r->new_snapshot);
		jsonw_bool(&j, "snapshot_unfit", r->snapshot_unfit);
		jsonw_u64(&j, "reused_bytes", r->reused_bytes);
		jsonw_string(&j, "signed_by", r->signed_by[0] ? r->signed_by : NULL);
	}
	jsonw_u64(&j, "file_bytes", r->file_bytes);
	jsonw_u64(&j, "blob_bytes", r->blob_bytes);
	jsonw_u64(&j, "moved_bytes", r->moved_bytes);
	if (way == PUSHED)
		jsonw_u64(&j, "variants", r->n_variants);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* A tag of the OCI's: 1 to 128 of letters, digits and "._-", not beginning with '.' or '-'. */
static int check_tag(struct cli_context *c, const struct args *a)
{
	const char *tag = args_string(a, "tag");
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	if (!tag)
		return 0;
	size_t first = strspn(tag, letters), len = strlen(tag);
	for (size_t i = 0; i < len; i++) {
		if (!strchr(letters, tag[i]) && tag[i] != '.' && tag[i] != '-')
			first = 0;
	}
	return first && len <= 128 ? 0 : cli_usage(c, "'%.80s' is no valid tag", tag);
}

/* Both ways jump about in the file, so it cannot be a pipe. */
static int check_file(struct cli_context *c, const char *path)
{
	return str_eq(path, "-")
		       ? cli_usage(c, "'-': the file is read and written in no order, so it "
				      "cannot be a pipe: name a file")
		       : 0;
}

static int check_signing(struct cli_context *c, const struct args *a)
{
	const char *command = args_string(a, "sign-command");

	if (command && !*command)
		return cli_usage(c, "--sign-command needs the name of a program");
	return command && !args_given(a, "sign")
		       ? cli_usage(c, "--sign-command needs --sign, the name of its public key")
		       : 0;
}

static int print_sent(const struct cli_context *c, const struct mvm_artifact_result *r,
		      enum way way)
{
	char blobs[24];

	if (c->json)
		return print_json(r, way);
	str_bytes(r->blob_bytes, blobs, sizeof(blobs));
	printf("%s@%s  %s, %s, %s", r->template_id, r->revision, r->digest,
	       r->has_snapshot ? "with its snapshot" : "without a snapshot", blobs);
	if (r->n_variants > 1)
		printf(", one of %zu snapshots there", r->n_variants);
	printf("\n");
	return 0;
}

/* How a host that no snapshot fits gets its own, and others like it. */
static void note_unfit(const struct cli_context *c, const struct mvm_artifact_result *r,
		       const char *ref)
{
	const size_t len = strcspn(ref, "@");
	const char *slash = memrchr(ref, '/', len);
	bool has_tag = slash && memchr(slash, ':', len - (size_t)(slash - ref));
	char text[1024];

	snprintf(
		text, sizeof(text),
		"'mvm template snapshot %s' makes a snapshot for this host, and 'mvm template push "
		"%s %.*s%s' adds it there",
		r->template_id, r->template_id, (int)len, ref, ref[len] && !has_tag ? ":TAG" : "");
	note(c, text);
}

static int print_received(const struct cli_context *c, const struct mvm_artifact_result *r)
{
	if (r->new_snapshot && !r->signed_by[0])
		note(c, "no key that you trust has signed the snapshot, so VMs boot; 'mvm template "
			"snapshot' makes one here");
	else if (!r->signed_by[0])
		note(c, "no key that you trust has signed it");
	if (c->json)
		return print_json(r, RECEIVED);
	const char *snapshot = r->has_snapshot ? "kept" : "no";
	printf("%s@%s  %s, %s snapshot%s%s\n", r->template_id, r->revision,
	       r->new_revision ? "new" : "unchanged", r->new_snapshot ? "new" : snapshot,
	       r->signed_by[0] ? ", signed by " : "", r->signed_by);
	return 0;
}

static int print_here(const struct cli_context *c, const struct mvm_artifact_result *r)
{
	if (c->json)
		return print_json(r, RECEIVED);
	printf("%s@%s  is here\n", r->template_id, r->revision);
	return 0;
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
		.key = args_string(a, "sign"),
		.sign_command = args_string(a, "sign-command"),
	};

	int r = check_file(c, args_at(a, 1));
	if (r == 0)
		r = check_tag(c, a);
	if (r == 0)
		r = check_signing(c, a);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_export(mvm, args_at(a, 0), args_at(a, 1), &options, &c->progress,
					&result, &c->err);
	return r < 0 ? r : print_sent(c, &result, EXPORTED);
}

static int push(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	const struct mvm_push_options options = {
		.size = sizeof(options),
		.image_only = args_flag(a, "image-only"),
		.key = args_string(a, "sign"),
		.sign_command = args_string(a, "sign-command"),
	};

	int r = check_signing(c, a);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_push(mvm, args_at(a, 0), args_at(a, 1), &options, &c->progress,
				      &result, &c->err);
	return r < 0 ? r : print_sent(c, &result, PUSHED);
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

	int r = check_file(c, args_at(a, 0));
	if (r == 0)
		r = check_tag(c, a);
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_import(mvm, args_at(a, 0), &options, &c->progress, &result,
					&c->err);
	return r < 0 ? r : print_received(c, &result);
}

static int pull(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	const struct mvm_pull_options options = {
		.size = sizeof(options),
		.image_only = args_flag(a, "image-only"),
		.no_wait = args_flag(a, "no-wait"),
		.id = args_at(a, 1),
		.if_missing = args_flag(a, "if-missing"),
	};

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_pull(mvm, args_at(a, 0), &options, &c->progress, &result, &c->err);
	if (r < 0)
		return r;
	if (result.snapshot_unfit)
		note_unfit(c, &result, args_at(a, 0));
	return r > 0 ? print_here(c, &result) : print_received(c, &result);
}

static int sign(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	char digest[MVM_ARTIFACT_DIGEST_SIZE];
	const struct mvm_sign_options options = {
		.size = sizeof(options),
		.key = args_string(a, "key"),
		.sign_command = args_string(a, "sign-command"),
	};

	int r = options.key ? 0 : cli_usage(c, "which key? name it with --key");
	if (r == 0 && options.sign_command && !*options.sign_command)
		r = cli_usage(c, "--sign-command needs the name of a program");
	if (r == 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_sign(mvm, args_at(a, 0), &options, &c->progress, digest, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "reference", args_at(a, 0));
	jsonw_string(&j, "digest", digest);
	jsonw_string(&j, "key", options.key);
	jsonw_close(&j);
	if (c->json)
		return jsonw_print(&j, stdout);
	printf("%s  signed by %s\n", digest, options.key);
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

#define OPTION_SIGN                                                                                \
	{                                                                                          \
		.name = "sign", .kind = OPTION_STRING, .value = "KEY",                             \
		.help = "sign it with this key of 'mvm key list'", .hint = VALUE_NEW_KEY           \
	}

#define OPTION_SIGN_COMMAND                                                                        \
	{                                                                                          \
		.name = "sign-command", .kind = OPTION_STRING, .value = "PROGRAM",                 \
		.help = "signs for a key that is elsewhere, whose public key is KEY: reads what "  \
			"is to be signed, prints the signature",                                   \
		.hint = VALUE_FILE                                                                 \
	}

static const struct option sign_options[] = {
	{ .name = "key",
	  .letter = 'k',
	  .kind = OPTION_STRING,
	  .value = "KEY",
	  .help = "sign with this key of 'mvm key list'",
	  .hint = VALUE_NEW_KEY },
	OPTION_SIGN_COMMAND,
	OPTION_JSON,
	{ 0 },
};

static const struct option export_options[] = {
	OPTION_IMAGE_ONLY,
	OPTION_SIGN,
	OPTION_SIGN_COMMAND,
	OPTION_TAG("the artifact's tag in the file (default: the template's name)"),
	{ .name = "force", .letter = 'f', .kind = OPTION_FLAG, .help = "replace an existing file" },
	OPTION_JSON,
	{ 0 },
};

static const struct option push_options[] = {
	OPTION_IMAGE_ONLY, OPTION_SIGN, OPTION_SIGN_COMMAND, OPTION_JSON, { 0 },
};

static const struct option pull_options[] = {
	OPTION_IMAGE_ONLY,
	{ .name = "if-missing",
	  .kind = OPTION_FLAG,
	  .help = "do nothing if TEMPLATE has a revision, or the one of DIGEST" },
	OPTION_NO_WAIT,
	OPTION_JSON,
	{ 0 },
};

static const struct option import_options[] = {
	OPTION_IMAGE_ONLY,
	OPTION_TAG("which of the file's artifacts"),
	OPTION_NO_WAIT,
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
	.details =
		"FILE is what 'mvm template export' wrote, or a folder with an OCI image "
		"layout. Its revision becomes the current one of TEMPLATE, which is made if "
		"there is none of that name. Nothing is published before every part was "
		"compared with its digest.\n\nA snapshot is a running program: VMs boot instead of "
		"starting from one that another host made, unless a key that you trust ('mvm "
		"key trust') has signed it.",
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

const struct command command_template_push = {
	.path = "template push",
	.summary = "Put a revision and its snapshot into a registry",
	.details =
		"What the repository has already is not uploaded. Logins are those of docker "
		"and podman, and registries.toml has the settings of a registry, as for "
		"images.\n\nA snapshot is for one kind of CPU and VMM. It is added to those of the "
		"same revision that the tag has for other kinds, and pulls take the one that "
		"fits. Another revision, or one without a snapshot, replaces them.",
	.examples = "mvm template push http-worker reg.example/team/http-worker:v1\n"
		    "mvm template push http-worker reg.example/team/http-worker:v1 --image-only",
	.positionals = { { .name = "ID[@REV]",
			   .help = "a template, or one of its revisions",
			   .hint = VALUE_REFERENCE },
			 { .name = "REF",
			   .help = "HOST[:PORT]/NAME[:TAG]",
			   .hint = VALUE_REMOTE } },
	.options = push_options,
	.run = push,
};

const struct command command_template_pull = {
	.path = "template pull",
	.summary = "Get a revision and its snapshot from a registry",
	.details = "The revision becomes the current one of TEMPLATE, which is made if there is "
		   "none of that name. Files that are here are not fetched, and a pull that was "
		   "stopped goes on where it was.\n\nWith --if-missing a template that is here "
		   "stays as it is, and no registry is asked: with a tag any current revision "
		   "will do, with a digest only the one that came with it.\n\nOf several "
		   "snapshots under one tag the one for this CPU and VMM is taken. If there is "
		   "none, the image comes alone, and a note names the commands that make a "
		   "snapshot and add it there.\n\nA snapshot is a running program: VMs boot "
		   "instead of "
		   "starting from one that another host made, unless a key that you trust ('mvm "
		   "key trust') has signed it.",
	.examples = "mvm template pull reg.example/team/http-worker:v1\n"
		    "mvm template pull --if-missing reg.example/team/http-worker:v1\n"
		    "mvm template pull reg.example/team/http-worker@sha256:91c0... http-copy",
	.positionals = { { .name = "REF",
			   .help = "HOST[:PORT]/NAME[:TAG][@DIGEST]",
			   .hint = VALUE_REMOTE },
			 { .name = "TEMPLATE",
			   .help = "a template, or the name of a new one (default: the last part "
				   "of NAME)",
			   .optional = true,
			   .hint = VALUE_TEMPLATE } },
	.options = pull_options,
	.run = pull,
};

const struct command command_template_sign = {
	.path = "template sign",
	.summary = "Sign a template that is in a registry",
	.details =
		"Your signature lets its snapshot, a running program, start VMs wherever your key "
		"is trusted. So an artifact with a snapshot is named by its digest, which 'mvm "
		"template push' prints: a tag may have moved.\n\nA PROGRAM reads the bytes to be "
		"signed, a DSSE envelope's, and prints the signature, plain or in base64: of "
		"Ed25519, or of ECDSA with SHA-256 in ASN.1. It gets no arguments and no shell. "
		"mvm checks its signature with the public key before it uses it.",
	.examples = "mvm template sign reg.example/team/web@sha256:91c0... --key release\n"
		    "mvm template sign reg.example/team/web:v1 --key kms --sign-command ./kms-sign",
	.positionals = { { .name = "REF",
			   .help = "HOST[:PORT]/NAME[:TAG][@DIGEST]",
			   .hint = VALUE_REMOTE } },
	.options = sign_options,
	.run = sign,
};
