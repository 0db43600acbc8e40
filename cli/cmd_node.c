/* SPDX-License-Identifier: Apache-2.0 */
/* node status, features, labels */
#include <stdio.h>
#include <string.h>

#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"
#include "text.h"

static int look(struct cli_context *c, struct mvm_node **ret)
{
	AUTO(mvm) mvm = NULL;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	return r < 0 ? r : mvm_node_look(mvm, &c->progress, ret, &c->err);
}

/* ---- status ---- */

static int print_templates(const struct mvm_node *n)
{
	AUTO_DONE(table) t = { .columns = 4 };

	if (!n->n_templates)
		return 0;
	putchar('\n');
	table_row(&t, "TEMPLATE", "REVISION", "START", "REASON");
	for (size_t i = 0; i < n->n_templates; i++) {
		const struct mvm_node_template *m = n->templates[i];
		table_row(&t, m->template_id, m->revision ? m->revision : "-",
			  mvm_start_outlook_name(m->start), m->reason);
	}
	return table_print(&t, stdout);
}

static int status(struct cli_context *c, const struct args *a)
{
	AUTO(mvm_node) n = NULL;
	char memory[24], memory_free[24], disk[24], disk_free[24];
	(void)a;

	int r = look(c, &n);
	if (r < 0)
		return r;
	if (c->json) {
		AUTO_FREE char *json = NULL;
		r = mvm_node_json(n, &json, &c->err);
		return r < 0 ? r : json_show(json, stdout);
	}
	str_bytes(n->mem_bytes, memory, sizeof(memory));
	str_bytes(n->mem_available_bytes, memory_free, sizeof(memory_free));
	str_bytes(n->disk_bytes, disk, sizeof(disk));
	str_bytes(n->disk_free_bytes, disk_free, sizeof(disk_free));
	fputs("backend   ", stdout);
	if (n->backend)
		printf("%s %s, %s\n", n->backend, n->backend_version, n->kvm ? "kvm" : "tcg");
	else
		print_text(stdout, n->problem);
	printf("%scpus      %u\nmemory    %s, %s available\ndisk      %s, %s free\n"
	       "running   %zu instance%s, %ju vCPUs, %ju MiB\n",
	       n->backend ? "" : "\n", n->cpus, memory, memory_free, disk, disk_free, n->n_running,
	       plural(n->n_running), (uintmax_t)n->running_vcpus, (uintmax_t)n->running_mem_mib);
	return print_templates(n);
}

/* ---- features ---- */

static int features(struct cli_context *c, const struct args *a)
{
	AUTO(mvm_node) n = NULL;
	AUTO_FREE char *text = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	char *rest;
	(void)a;

	int r = look(c, &n);
	if (r == 0)
		r = mvm_node_features(n, &text, &c->err);
	if (r < 0)
		return r;
	if (!c->json) {
		puts(text);
		return 0;
	}
	jsonw_open(&j, NULL, '[');
	for (char *word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
		jsonw_string(&j, NULL, word);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* ---- labels ---- */

static int print_label_json(const struct mvm_strings *labels)
{
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_open(&j, NULL, '{');
	for (size_t i = 0; i < labels->n; i++) {
		char *value = strchr(labels->v[i], '=');
		*value = '\0';
		jsonw_string(&j, labels->v[i], value + 1);
	}
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int labels(struct cli_context *c, const struct args *a)
{
	AUTO(mvm_node) n = NULL;
	struct mvm_strings list = { 0 };
	(void)a;

	int r = look(c, &n);
	if (r == 0)
		r = mvm_node_labels(n, &list, &c->err);
	if (r < 0)
		return r;
	if (c->json)
		r = print_label_json(&list);
	for (size_t i = 0; i < list.n && !c->json; i++)
		puts(list.v[i]);
	mvm_strings_done(&list);
	return r;
}

static const struct option options[] = { OPTION_JSON, { 0 } };

const struct command command_node_status = {
	.path = "node status",
	.summary = "Show what this host offers a scheduler",
	.details = "Shows the backend, what is free, and for each template whether a start would "
		   "restore its snapshot, and if not, why.",
	.examples = "mvm node status --json",
	.options = options,
	.run = status,
};

const struct command command_node_features = {
	.path = "node features",
	.summary = "Print this host as features of a Slurm node",
	.details = "Separated by commas: the architecture, 'kvm', the backend, 'cpu_HASH' and "
		   "'backend_HASH', 'tpl_ID' for each template that can start here, and 'snap_ID' "
		   "if it would be restored. Hosts with the same two hashes can restore each "
		   "other's snapshots.",
	.examples = "F=$(mvm node features)\n"
		    "scontrol update NodeName=n1 AvailableFeatures=$F ActiveFeatures=$F",
	.options = options,
	.run = features,
};

const struct command command_node_labels = {
	.path = "node labels",
	.summary = "Print this host as labels of a Kubernetes node",
	.details =
		"A line for each, KEY=VALUE: mvm.dev/ with arch, kvm, backend, backend-version, "
		"cpu-hash, backend-hash, disk-free-gib and disk-free-percent; "
		"templates.mvm.dev/ID=REVISION for each template that can start here, and "
		"snapshots.mvm.dev/ID=REVISION if it would be restored. Free room is rounded down, "
		"so that labels seldom change: to a power of two, and to tens.\n\nA template whose "
		"name ends with '-' or '_' has no label, as no label may have such a name.",
	.examples = "kubectl label node n1 --overwrite $(mvm node labels)",
	.options = options,
	.run = labels,
};
