/* SPDX-License-Identifier: Apache-2.0 */
/* This host in the words of Slurm and of Kubernetes. */
#include <inttypes.h>
#include <mvm/node.h>
#include <string.h>

#include "base/error.h"
#include "model/strings.h"

#define LABEL_VALUE_MAX 63u

/* A revision that can start here. */
static bool starts(const struct mvm_node_template *t)
{
	return t->revision && t->start != MVM_START_IMPOSSIBLE;
}

int mvm_node_features(const struct mvm_node *n, char **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };

	strbuf_adds(&b, n->arch);
	if (n->backend)
		strbuf_addf(&b, "%s,%s,cpu_%s,backend_%s", n->kvm ? ",kvm" : "", n->backend,
			    n->cpu_hash, n->backend_hash);
	for (size_t i = 0; i < n->n_templates; i++) {
		const struct mvm_node_template *t = n->templates[i];
		if (starts(t))
			strbuf_addf(&b, ",tpl_%s", t->template_id);
		if (starts(t) && t->start == MVM_START_WOULD_RESTORE)
			strbuf_addf(&b, ",snap_%s", t->template_id);
	}
	*ret = strbuf_take(&b);
	return *ret ? 0 : mvm_error_oom(err);
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Add a label whose value is a program's first word: 63 letters, digits and ".-_" at most, and
 * letters or digits at both ends. */
static void add_text(struct strv *l, const char *key, const char *value)
{
	char word[LABEL_VALUE_MAX + 1];
	size_t n = 0;

	for (const char *s = value; *s && *s != ' ' && n < LABEL_VALUE_MAX; s++) {
		if (is_alnum(*s) || (n > 0 && strchr(".-_", *s)))
			word[n++] = *s;
		else if (n > 0 && word[n - 1] != '-')
			word[n++] = '-';
	}
	while (n > 0 && !is_alnum(word[n - 1]))
		n--;
	word[n] = '\0';
	strv_addf(l, "%s=%s", key, word);
}

/* Free room in steps, as each change of a label is work for the whole cluster. */
static void add_disk(struct strv *l, const struct mvm_node *n)
{
	uint64_t gib = n->disk_free_bytes >> 30, step = 1;
	uint64_t percent = n->disk_bytes >= 100 ? n->disk_free_bytes / (n->disk_bytes / 100) : 0;

	while (step <= gib / 2)
		step *= 2;
	strv_addf(l, "mvm.dev/disk-free-gib=%" PRIu64, gib ? step : 0);
	strv_addf(l, "mvm.dev/disk-free-percent=%" PRIu64, percent / 10 * 10);
}

static void add_template(struct strv *l, const struct mvm_node_template *t)
{
	if (!starts(t) || !is_alnum(t->template_id[strlen(t->template_id) - 1]))
		return;
	/* a revision that another program has named may be a digit too long */
	strv_addf(l, "templates.mvm.dev/%s=%.63s", t->template_id, t->revision);
	if (t->start == MVM_START_WOULD_RESTORE)
		strv_addf(l, "snapshots.mvm.dev/%s=%.63s", t->template_id, t->revision);
}

int mvm_node_labels(const struct mvm_node *n, struct mvm_strings *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) l = { 0 };

	add_text(&l, "mvm.dev/arch", n->arch);
	strv_addf(&l, "mvm.dev/kvm=%s", n->kvm ? "true" : "false");
	if (n->backend) {
		add_text(&l, "mvm.dev/backend", n->backend);
		add_text(&l, "mvm.dev/backend-version", n->backend_version);
		strv_addf(&l, "mvm.dev/cpu-hash=%s", n->cpu_hash);
		strv_addf(&l, "mvm.dev/backend-hash=%s", n->backend_hash);
	}
	add_disk(&l, n);
	for (size_t i = 0; i < n->n_templates; i++)
		add_template(&l, n->templates[i]);
	struct mvm_strings labels = { 0 };
	if (strings_take(&l, &labels) < 0)
		return mvm_error_oom(err);
	*ret = labels;
	return 0;
}
