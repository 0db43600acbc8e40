/* SPDX-License-Identifier: Apache-2.0 */
/* template info */
#include <stdio.h>
#include <string.h>

#include "handles.h"
#include "options.h"
#include "out.h"
#include "text.h"
#include "when.h"

static void line(const char *what, const char *value)
{
	printf("%-12s", what);
	print_text(stdout, value);
	putchar('\n');
}

static void line_machine(unsigned vcpus, uint32_t mem_mib, uint32_t data_disk_mib,
			 uint32_t root_disk_mib)
{
	char memory[24], data[24], root[24], text[128];
	str_bytes((uint64_t)mem_mib << 20, memory, sizeof(memory));
	str_bytes((uint64_t)data_disk_mib << 20, data, sizeof(data));
	str_bytes((uint64_t)root_disk_mib << 20, root, sizeof(root));
	snprintf(text, sizeof(text), "%u CPU%s, %s%s%s%s%s", vcpus, plural(vcpus), memory,
		 data_disk_mib ? ", data disk " : "", data_disk_mib ? data : "",
		 root_disk_mib ? ", root disk " : "", root_disk_mib ? root : "");
	line("machine", text);
}

/* Some settings have another name for people.  The others are called as in template.toml. */
static const char *label_of(const char *key)
{
	static const struct {
		const char *key, *label;
	} labels[] = {
		{ "boot_args", "boot args" },
		{ "on_restore", "on restore" },
		{ "snapshot.point", "snapshot at" },
	};
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		if (str_eq(key, labels[i].key))
			return labels[i].label;
	}
	return str_starts(key, "health.") ? "health" : key;
}

static void show_setting(const struct mvm_template_setting *s)
{
	printf("%-12s", label_of(s->key));
	if (str_starts(s->key, "health."))
		printf("%s ", s->key + strlen("health."));
	for (size_t i = 0; i < s->n_values; i++) {
		fputs(i ? " " : "", stdout);
		print_text(stdout, s->values[i]);
	}
	if (str_eq(s->key, "initrd") && str_eq(s->values[0], "image"))
		fputs(": the image's own, without mvm's agent", stdout);
	putchar('\n');
}

static void show_settings(const struct mvm_template_details *d)
{
	bool has_network = false;

	for (size_t i = 0; i < d->n_settings; i++) {
		show_setting(&d->settings[i]);
		has_network |= str_eq(d->settings[i].key, "network");
	}
	if (!has_network)
		line("network", "user");
}

static void show_revision(const struct mvm_template_details *d)
{
	char when[WHEN_SIZE], a[24], b[24], c[24], text[160];

	printf("\n");
	snprintf(text, sizeof(text), "%s%s", d->revision, d->is_current ? " (current)" : "");
	line("revision", text);
	when_text(d->built_at, when);
	snprintf(text, sizeof(text), "%s%s%s", when, d->builder ? " by " : "",
		 d->builder ? d->builder : "");
	line("built", text);
	if (d->instance && d->base) {
		snprintf(text, sizeof(text), "VM %s, which ran %s", d->instance, d->base);
		line("of", text);
	}
	line("from", d->built_from);
	line("lock", d->lock);
	line("cache key", d->cache_key);
	line_machine(d->built_vcpus, d->built_mem_mib, d->built_data_disk_mib,
		     d->built_root_disk_mib);
	str_bytes(d->rootfs_bytes, a, sizeof(a));
	str_bytes(d->vmlinux_bytes, b, sizeof(b));
	str_bytes(d->initrd_bytes, c, sizeof(c));
	snprintf(text, sizeof(text), "image %s, kernel %s, initrd %s", a, b, c);
	line("sizes", text);
	str_bytes(d->disk_bytes, a, sizeof(a));
	line("on disk", a);
	if (d->has_snapshot) {
		when_text(d->snapshot_at, when);
		str_bytes(d->snapshot_mem_bytes, a, sizeof(a));
		str_bytes(d->snapshot_state_bytes, b, sizeof(b));
		snprintf(text, sizeof(text), "%s, memory %s, device state %s", when, a, b);
	}
	line("snapshot", d->has_snapshot ? text : "none");
	if (d->snapshot_signed_by)
		line("signed by", d->snapshot_signed_by);
	line("kind", d->kind_is_snapshot ? "snapshot" : "image");
}

static void show_start(const struct mvm_template_details *d)
{
	static const char *const outlooks[] = {
		[MVM_START_IMPOSSIBLE] = "cannot start it here",
		[MVM_START_WOULD_BOOT] = "boots",
		[MVM_START_WOULD_RESTORE] = "restores the snapshot",
	};
	AUTO_FREE char *text = str_printf("%s%s%s%s%s", outlooks[d->start],
					  d->backend ? " on " : "", d->backend ? d->backend : "",
					  d->start_reason ? ": " : "",
					  d->start_reason ? d->start_reason : "");
	if (text)
		line("run", text);
	AUTO_FREE char *changed =
		d->changed_file ? str_printf("%s was edited, replaced or copied; 'mvm template "
					     "verify %s' tells if it is damaged",
					     d->changed_file, d->template_id)
				: NULL;
	if (changed)
		line("changed", changed);
}

static void show(const struct mvm_template_details *d)
{
	char when[WHEN_SIZE];

	line("template", d->template_id);
	line("flake ref", d->flake_ref);
	line("profile", d->profile);
	line("role", d->role);
	line_machine(d->vcpus, d->mem_mib, d->data_disk_mib, d->root_disk_mib);
	show_settings(d);
	when_text(d->created_at, when);
	line("created", when);
	when_text(d->updated_at, when);
	line("updated", when);
	if (d->revision) {
		show_revision(d);
		show_start(d);
		return;
	}
	printf("\n");
	line("revision", "none: not built yet");
}

static int info(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_FREE char *json = NULL;
	AUTO(mvm_template_details) details = NULL;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	if (c->json) {
		r = mvm_template_info(mvm, args_at(a, 0), NULL, &json, &c->err);
		if (r == 0)
			fputs(json, stdout); /* main looks at the stream's errors */
		return r;
	}
	r = mvm_template_details(mvm, args_at(a, 0), NULL, &details, &c->err);
	if (r == 0)
		show(details);
	return r;
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_template_info = {
	.path = "template info",
	.summary = "Show everything about a template or revision",
	.details = "The last line says what 'mvm run' would do here and why: restore the "
		   "snapshot, or boot.",
	.positionals = { { .name = "ID[@REV]", .help = "the template", .hint = VALUE_REFERENCE } },
	.options = json_options,
	.run = info,
};
