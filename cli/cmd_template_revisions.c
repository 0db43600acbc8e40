/* SPDX-License-Identifier: Apache-2.0 */
/* template history, rollback, diff */
#include <stdio.h>
#include <string.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"
#include "text.h"
#include "when.h"

static void put_time(struct jsonw *j, const char *key, int64_t t)
{
	char text[WHEN_SIZE];
	when_text(t, text);
	jsonw_string(j, key, t ? text : NULL);
}

/* ---- history ---- */

static int print_history_json(const struct mvm_revision_summary_list *all)
{
	AUTO_DONE(jsonw) j = { 0 };

	jsonw_open(&j, NULL, '[');
	for (size_t i = 0; i < all->n; i++) {
		const struct mvm_revision_summary *s = all->v[i];
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "revision_hash", s->revision);
		jsonw_bool(&j, "current", s->current);
		jsonw_bool(&j, "in_use", s->in_use);
		put_time(&j, "built_at", s->built_at);
		jsonw_u64(&j, "vcpus", s->vcpus);
		jsonw_u64(&j, "mem_mib", s->mem_mib);
		jsonw_u64(&j, "rootfs_bytes", s->rootfs_bytes);
		jsonw_u64(&j, "disk_bytes", s->disk_bytes);
		jsonw_bool(&j, "has_snapshot", s->has_snapshot);
		put_time(&j, "snapshot_at", s->snapshot_at);
		jsonw_u64(&j, "snapshot_mem_bytes", s->snapshot_mem_bytes);
		jsonw_string(&j, "problem", s->problem);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int history(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_revision_summary_list) all = { 0 };
	AUTO_DONE(table) t = { .columns = 8 };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_history(mvm, args_at(a, 0), &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	if (c->json)
		return print_history_json(&all);
	table_row(&t, "", "REVISION", "BUILT", "CPUS", "MEMORY", "IMAGE", "DISK", "SNAPSHOT");
	for (size_t i = 0; i < all.n; i++) {
		const struct mvm_revision_summary *s = all.v[i];
		char built[WHEN_SIZE], cpus[8], memory[24], image[24], disk[24];
		when_text(s->built_at, built);
		snprintf(cpus, sizeof(cpus), "%u", s->vcpus);
		str_bytes((uint64_t)s->mem_mib << 20, memory, sizeof(memory));
		str_bytes(s->rootfs_bytes, image, sizeof(image));
		str_bytes(s->disk_bytes, disk, sizeof(disk));
		const char *mark = s->in_use ? "+" : "";
		if (s->current)
			mark = "*";
		if (s->problem) {
			note(c, s->problem);
			table_row(&t, mark, s->revision, "damaged", "-", "-", "-", disk, "-");
			continue;
		}
		table_row(&t, mark, s->revision, built, cpus, memory, image, disk,
			  s->has_snapshot ? "yes" : "no");
	}
	return table_print(&t, stdout);
}

/* ---- rollback ---- */

static int rollback(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	char from[65] = "", to[65] = "";

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_rollback(mvm, args_at(a, 0), args_at(a, 1), &c->progress, from, to,
					  &c->err);
	if (r < 0)
		return r;
	if (!c->json) {
		if (r)
			printf("%s@%s is current, was %s\n", args_at(a, 0), to,
			       from[0] ? from : "none");
		else
			printf("%s@%s was current already\n", args_at(a, 0), to);
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "template_id", args_at(a, 0));
	jsonw_string(&j, "from", from[0] ? from : NULL);
	jsonw_string(&j, "to", to);
	jsonw_bool(&j, "changed", r > 0);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* ---- diff ---- */

static void put_side(struct jsonw *j, const char *key, const char *digest, uint64_t bytes)
{
	if (!digest) {
		jsonw_string(j, key, NULL);
		return;
	}
	jsonw_open(j, key, '{');
	jsonw_string(j, "sha256", digest);
	jsonw_u64(j, "bytes", bytes);
	jsonw_close(j);
}

static void put_ref(struct jsonw *j, const char *key, const char *id, const char *revision)
{
	jsonw_open(j, key, '{');
	jsonw_string(j, "template_id", id);
	jsonw_string(j, "revision_hash", revision);
	jsonw_close(j);
}

static int print_diff_json(const struct mvm_template_diff *d)
{
	AUTO_DONE(jsonw) j = { 0 };

	jsonw_open(&j, NULL, '{');
	put_ref(&j, "from", d->from_id, d->from_revision);
	put_ref(&j, "to", d->to_id, d->to_revision);
	jsonw_open(&j, "artifacts", '[');
	for (size_t i = 0; i < d->n_artifacts; i++) {
		const struct mvm_diff_artifact *x = d->artifacts[i];
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "name", x->name);
		put_side(&j, "from", x->from, x->from_bytes);
		put_side(&j, "to", x->to, x->to_bytes);
		jsonw_close(&j);
	}
	jsonw_close(&j);
	jsonw_open(&j, "settings", '[');
	for (size_t i = 0; i < d->n_settings; i++) {
		const struct mvm_diff_setting *x = d->settings[i];
		jsonw_open(&j, NULL, '{');
		jsonw_string(&j, "key", x->key);
		jsonw_raw(&j, "from", x->from ? x->from : "null");
		jsonw_raw(&j, "to", x->to ? x->to : "null");
		jsonw_close(&j);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* "1.5 MiB  3f2a91c04b1e", or "-" where there is no such file. */
static const char *file_text(const char *digest, uint64_t bytes, char *buf, size_t size)
{
	char amount[24];
	if (!digest)
		return "-";
	str_bytes(bytes, amount, sizeof(amount));
	snprintf(buf, size, "%s %.12s", amount, digest);
	return buf;
}

static int print_diff(const struct mvm_template_diff *d)
{
	AUTO_DONE(table) t = { .columns = 3 };
	char from[96], to[96];

	if (d->n_artifacts + d->n_settings == 0) {
		printf("no difference\n");
		return 0;
	}
	snprintf(from, sizeof(from), "%s@%.12s", d->from_id, d->from_revision);
	snprintf(to, sizeof(to), "%s@%.12s", d->to_id, d->to_revision);
	table_row(&t, "", from, to);
	for (size_t i = 0; i < d->n_artifacts; i++) {
		const struct mvm_diff_artifact *x = d->artifacts[i];
		table_row(&t, x->name, file_text(x->from, x->from_bytes, from, sizeof(from)),
			  file_text(x->to, x->to_bytes, to, sizeof(to)));
	}
	for (size_t i = 0; i < d->n_settings; i++) {
		const struct mvm_diff_setting *x = d->settings[i];
		table_row(&t, x->key, x->from ? x->from : "-", x->to ? x->to : "-");
	}
	return table_print(&t, stdout);
}

static int diff(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_template_diff) d = NULL;
	AUTO_FREE char *id = NULL;
	const char *to = args_at(a, 1);

	if (!to) { /* the current revision of the same template */
		id = strndup(args_at(a, 0), strcspn(args_at(a, 0), "@"));
		if (!id)
			return -ENOMEM;
		to = id;
	}
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_template_diff(mvm, args_at(a, 0), to, &c->progress, &d, &c->err);
	if (r == 0)
		r = c->json ? print_diff_json(d) : print_diff(d);
	return r;
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_template_history = {
	.path = "template history",
	.summary = "List a template's revisions, newest first",
	.details = "'*' marks the current revision, '+' another one that a VM runs "
		   "from. DISK is the size of a revision's files, including the files "
		   "that it shares.",
	.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE } },
	.options = json_options,
	.run = history,
};

const struct command command_template_rollback = {
	.path = "template rollback",
	.summary = "Make an earlier revision the current one",
	.details = "Checks the revision's files first: a damaged revision never "
		   "becomes current. Running VMs go on. The template itself does not "
		   "change, so the next build makes a revision from it again.",
	.examples = "mvm template rollback web\n"
		    "mvm template rollback web 3f2a91c0",
	.positionals = { { .name = "ID", .help = "the template", .hint = VALUE_TEMPLATE },
			 { .name = "REV",
			   .help = "a revision, or the beginning of its name (default: the one "
				   "built "
				   "before the current one)",
			   .optional = true,
			   .hint = VALUE_REVISION } },
	.options = json_options,
	.run = rollback,
};

const struct command command_template_diff = {
	.path = "template diff",
	.summary = "Show what differs between two revisions",
	.details = "Compares files by their digests, and all settings in "
		   "revision.json.",
	.examples = "mvm template diff web@3f2a91c0 web@91c04b1e\n"
		    "mvm template diff web@3f2a91c0",
	.positionals = { { .name = "ID@REV", .help = "the one", .hint = VALUE_REFERENCE },
			 { .name = "ID@REV",
			   .help = "the other (default: the current revision of the first one's "
				   "template)",
			   .optional = true,
			   .hint = VALUE_REFERENCE } },
	.options = json_options,
	.run = diff,
};
