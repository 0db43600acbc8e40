/* SPDX-License-Identifier: Apache-2.0 */
/* template list */
#include <stdio.h>

#include "handles.h"
#include "json.h"
#include "names.h"
#include "options.h"
#include "out.h"
#include "progress.h"

/* How many rows are kept before they are printed. */
#define ROWS_MAX 1000

struct listing {
	struct cli_context *c;
	struct table table;
	struct jsonw json;
	size_t rows;
};

static int print_rows(struct listing *l)
{
	l->rows = 0;
	return l->c->json ? jsonw_flush(&l->json, stdout) : table_print(&l->table, stdout);
}

static void add_json(struct jsonw *j, const struct mvm_template_summary *s)
{
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "template_id", s->template_id);
	jsonw_string(j, "problem", s->problem);
	if (!s->problem) {
		jsonw_string(j, "role", s->role);
		jsonw_string(j, "profile", s->profile);
		jsonw_u64(j, "vcpus", s->vcpus);
		jsonw_u64(j, "mem_mib", s->mem_mib);
		jsonw_string(j, "revision_hash", s->revision);
		jsonw_u64(j, "rootfs_bytes", s->rootfs_bytes);
		jsonw_bool(j, "has_snapshot", s->has_snapshot);
		jsonw_u64(j, "snapshot_mem_bytes", s->snapshot_mem_bytes);
	}
	jsonw_close(j);
}

static void add_row(struct listing *l, const struct mvm_template_summary *s)
{
	char cpus[8], memory[24], image[24] = "-", revision[13];

	if (s->problem) {
		note(l->c, s->problem);
		table_row(&l->table, s->template_id, "-", "-", "-", "-",
			  s->problem_code == -EBADMSG ? "damaged" : "unreadable", "-", "-");
		return;
	}
	snprintf(cpus, sizeof(cpus), "%u", s->vcpus);
	str_bytes((uint64_t)s->mem_mib << 20, memory, sizeof(memory));
	if (s->revision)
		str_bytes(s->rootfs_bytes, image, sizeof(image));
	snprintf(revision, sizeof(revision), "%.12s", s->revision ? s->revision : "not built");
	table_row(&l->table, s->template_id, s->role, s->profile, cpus, memory, revision, image,
		  s->has_snapshot ? "yes" : "no");
}

static int add(void *arg, const struct mvm_template_summary *s)
{
	struct listing *l = arg;

	if (l->c->json)
		add_json(&l->json, s);
	else
		add_row(l, s);
	return ++l->rows < ROWS_MAX ? 0 : print_rows(l);
}

/* ---- in a registry ---- */

static void add_variants(struct jsonw *j, const struct mvm_remote_tag *tag)
{
	jsonw_open(j, "variants", '[');
	for (size_t i = 0; i < tag->n_variants; i++) {
		const struct mvm_remote_variant *v = &tag->variants[i];
		jsonw_open(j, NULL, '{');
		jsonw_string(j, "digest", v->digest);
		jsonw_string(j, "cpu_hash", v->cpu_hash);
		jsonw_string(j, "backend_hash", v->backend_hash);
		jsonw_close(j);
	}
	jsonw_close(j);
}

static void add_remote(struct cli_context *c, struct table *t, struct jsonw *j,
		       const struct mvm_remote_tag *tag)
{
	char size[24] = "-", digest[20], snapshot[32];

	snprintf(snapshot, sizeof(snapshot), "%s", tag->has_snapshot ? "yes" : "no");

	if (c->json) {
		jsonw_open(j, NULL, '{');
		jsonw_string(j, "tag", tag->tag);
		jsonw_string(j, "digest", tag->digest);
		jsonw_u64(j, "bytes", tag->bytes);
		jsonw_string(j, "created", tag->created);
		jsonw_bool(j, "is_template", tag->is_template);
		jsonw_bool(j, "has_snapshot", tag->has_snapshot);
		add_variants(j, tag);
		jsonw_close(j);
		return;
	}
	if (tag->n_variants)
		snprintf(snapshot, sizeof(snapshot), "%zu variants", tag->n_variants);
	if (tag->bytes)
		str_bytes(tag->bytes, size, sizeof(size));
	snprintf(digest, sizeof(digest), "%.19s", tag->digest);
	table_row(t, tag->tag ? tag->tag : "-", digest, size, tag->created ? tag->created : "-",
		  tag->is_template ? "template" : "other", snapshot);
}

static int list_remote(struct cli_context *c, const char *ref)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_remote_tag_list) all = { 0 };
	AUTO_DONE(table) t = { .columns = 6 };
	AUTO_DONE(jsonw) j = { 0 };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_remote_list(mvm, ref, &c->progress, &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '[');
	table_row(&t, "TAG", "DIGEST", "SIZE", "CREATED", "KIND", "SNAPSHOT");
	for (size_t i = 0; i < all.n; i++)
		add_remote(c, &t, &j, all.v[i]);
	jsonw_close(&j);
	return c->json ? jsonw_print(&j, stdout) : table_print(&t, stdout);
}

static int list(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	struct listing l = { .c = c, .table.columns = 8 };

	if (args_given(a, "remote"))
		return list_remote(c, args_string(a, "remote"));
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	table_row(&l.table, "ID", "ROLE", "PROFILE", "CPUS", "MEMORY", "REVISION", "IMAGE",
		  "SNAPSHOT");
	jsonw_open(&l.json, NULL, '[');
	r = mvm_template_list(mvm, add, &l, &c->err);
	jsonw_close(&l.json);
	if (r == 0)
		r = c->json ? jsonw_print(&l.json, stdout) : table_print(&l.table, stdout);
	table_done(&l.table);
	jsonw_done(&l.json);
	return r;
}

static const struct option list_options[] = {
	{ .name = "remote",
	  .kind = OPTION_STRING,
	  .value = "REF",
	  .help = "list the tags of this repository in a registry",
	  .hint = VALUE_REMOTE },
	OPTION_JSON,
	{ 0 },
};

const struct command command_template_list = {
	.path = "template list",
	.summary = "List templates",
	.details = "With --remote the tags of a repository, or one tag: the digest that it names, "
		   "what its blobs take, and whether a template of mvm's is there. Templates say "
		   "nothing of when they were made, so that the same one has the same digest.",
	.examples = "mvm template list --remote reg.example/team/web",
	.options = list_options,
	.run = list,
};
