/* SPDX-License-Identifier: Apache-2.0 */
/* template info */
#include <stdio.h>
#include <string.h>

#include "handles.h"
#include "options.h"
#include "out.h"
#include "text.h"
#include "when.h"

DEFINE_AUTO_DONE(mvm_template_details, mvm_template_details_done)

static void line(const char *what, const char *value)
{
	(void)printf("%-12s", what);
	print_text(stdout, value);
	(void)putchar('\n');
}

static void line_list(const char *what, const struct mvm_strings *list)
{
	if (!list->n)
		return;
	(void)printf("%-12s", what);
	for (size_t i = 0; i < list->n; i++) {
		(void)fputs(i ? " " : "", stdout);
		print_text(stdout, list->v[i]);
	}
	(void)putchar('\n');
}

static void line_machine(unsigned vcpus, uint32_t mem_mib, uint32_t data_disk_mib)
{
	char memory[24], disk[24], text[96];
	str_bytes((uint64_t)mem_mib << 20, memory, sizeof(memory));
	str_bytes((uint64_t)data_disk_mib << 20, disk, sizeof(disk));
	(void)snprintf(text, sizeof(text), "%u CPUs, %s%s%s", vcpus, memory,
		       data_disk_mib ? ", data disk " : "", data_disk_mib ? disk : "");
	line("machine", text);
}

static void show_health(const struct mvm_health *h)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "tcp %u", h->tcp);
	if (h->kind == MVM_HEALTH_EXEC)
		line_list("health", &h->exec);
	else if (h->set)
		line("health", h->kind == MVM_HEALTH_HTTP  ? h->http
			       : h->kind == MVM_HEALTH_TCP ? text
							   : "its agent answers");
}

static void show_run(const struct mvm_run *run)
{
	line_list("command", &run->command);
	line_list("env", &run->env);
	if (run->user)
		line("user", run->user);
	if (run->workdir)
		line("workdir", run->workdir);
	line("network", run->network == MVM_NETWORK_NONE ? "none" : "user");
	if (run->initrd == MVM_INITRD_IMAGE)
		line("initrd", "the image's own, without mvm's agent");
	if (run->kernel)
		line("kernel", run->kernel);
	if (run->boot_args)
		line("boot args", run->boot_args);
	show_health(&run->health);
	line_list("on restore", &run->on_restore);
}

static void show_revision(const struct mvm_template_details *d)
{
	const struct mvm_template_revision *rev = &d->revision;
	const struct mvm_artifact_sizes *sizes = &rev->artifact_paths.sizes;
	char when[WHEN_SIZE], a[24], b[24], c[24], text[160];

	(void)printf("\n");
	(void)snprintf(text, sizeof(text), "%s%s", rev->revision_hash,
		       d->is_current ? " (current)" : "");
	line("revision", text);
	when_text(rev->built_at, when);
	(void)snprintf(text, sizeof(text), "%s%s%s", when, rev->build.builder ? " by " : "",
		       rev->build.builder ? rev->build.builder : "");
	line("built", text);
	line("from", rev->flake_ref);
	line("lock", rev->flake_lock_hash);
	line("cache key", d->cache_key);
	line_machine(rev->vcpus, rev->mem_mib, rev->data_disk_mib);
	str_bytes(sizes->rootfs_bytes, a, sizeof(a));
	str_bytes(sizes->vmlinux_bytes, b, sizeof(b));
	str_bytes(sizes->initrd_bytes, c, sizeof(c));
	(void)snprintf(text, sizeof(text), "image %s, kernel %s, initrd %s", a, b, c);
	line("sizes", text);
	str_bytes(d->disk_bytes, a, sizeof(a));
	line("on disk", a);
	if (rev->has_snapshot) {
		when_text(rev->snapshot.created_at, when);
		str_bytes(rev->snapshot.mem_size_bytes, a, sizeof(a));
		str_bytes(rev->snapshot.vmstate_size_bytes, b, sizeof(b));
		(void)snprintf(text, sizeof(text), "%s, memory %s, device state %s", when, a, b);
	}
	line("snapshot", rev->has_snapshot ? text : "none");
	line("kind", d->kind_is_snapshot ? "snapshot" : "image");
}

static void show_start(const struct mvm_template_details *d)
{
	AUTO_FREE char *text = str_printf(
		"%s%s%s%s%s",
		d->start == MVM_START_WOULD_RESTORE ? "restores the snapshot"
		: d->start == MVM_START_WOULD_BOOT  ? "boots"
						    : "cannot start it here",
		d->backend ? " on " : "", d->backend ? d->backend : "", d->start_reason ? ": " : "",
		d->start_reason ? d->start_reason : "");
	if (text)
		line("run", text);
}

static void show(const struct mvm_template_details *d)
{
	const struct mvm_template_spec *s = &d->spec;
	char when[WHEN_SIZE];

	line("template", s->template_id);
	line("flake ref", s->flake_ref);
	line("profile", s->profile);
	line("role", s->role);
	line_machine(s->vcpus, s->mem_mib, s->data_disk_mib);
	show_run(&s->run);
	when_text(s->created_at, when);
	line("created", when);
	when_text(s->updated_at, when);
	line("updated", when);
	if (d->has_revision) {
		show_revision(d);
		show_start(d);
		return;
	}
	(void)printf("\n");
	line("revision", "none: not built yet");
}

static int info(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_FREE char *json = NULL;
	AUTO_DONE(mvm_template_details) details = { 0 };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r < 0)
		return r;
	if (c->json) {
		r = mvm_template_info(mvm, args_at(a, 0), &json, &c->err);
		if (r == 0)
			(void)fputs(json, stdout); /* main looks at the stream's errors */
		return r;
	}
	r = mvm_template_details(mvm, args_at(a, 0), &details, &c->err);
	if (r == 0)
		show(&details);
	return r;
}

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_template_info = {
	.path = "template info",
	.summary = "Show everything about a template or revision",
	.details = "The last line says what 'mvm run' would do here and why: restore the "
		   "snapshot, or boot.",
	.positionals = { { .name = "ID[@REV]", .help = "the template", .hint = VALUE_TEMPLATE } },
	.options = json_options,
	.run = info,
};
