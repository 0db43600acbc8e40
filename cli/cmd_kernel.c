/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "each.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "progress.h"

static void kernel_json(struct jsonw *j, const struct mvm_kernel *k)
{
	char digest[65];
	str_hex(k->vmlinux.bytes, sizeof(k->vmlinux.bytes), digest);
	jsonw_open(j, NULL, '{');
	jsonw_string(j, "name", k->name);
	jsonw_string(j, "problem", k->problem);
	if (k->problem) {
		jsonw_close(j);
		return;
	}
	jsonw_string(j, "version", k->version);
	jsonw_string(j, "added_at", k->added_at);
	jsonw_string(j, "vmlinux_sha256", digest);
	jsonw_u64(j, "vmlinux_bytes", k->vmlinux_bytes);
	jsonw_u64(j, "modules", k->n_modules);
	jsonw_bool(j, "pvh", k->pvh);
	jsonw_open(j, "features", '{');
	for (unsigned i = 0; i < MVM_KERNEL_FEATURES; i++)
		jsonw_string(j, mvm_kernel_feature_name(i), mvm_kernel_has_name(k->features[i]));
	jsonw_close(j);
	jsonw_close(j);
}

/* The kernel's features: "pvh virtio_mmio ext4". */
static char *feature_list(const struct mvm_kernel *k)
{
	AUTO_DONE(strbuf) b = { 0 };
	bool unknown = false;

	if (k->pvh)
		strbuf_adds(&b, "pvh");
	for (unsigned i = 0; i < MVM_KERNEL_FEATURES; i++) {
		unknown |= k->features[i] == MVM_KERNEL_UNKNOWN;
		if (k->features[i] == MVM_KERNEL_MODULE || k->features[i] == MVM_KERNEL_BUILTIN)
			strbuf_addf(&b, "%s%s", b.len ? " " : "", mvm_kernel_feature_name(i));
	}
	if (unknown)
		strbuf_addf(&b, "%sothers unknown", b.len ? ", " : "");
	if (b.failed)
		return NULL;
	char *text = b.data ? TAKE_PTR(b.data) : strdup("");
	return text;
}

static int print_added(struct cli_context *c, const struct mvm_kernel *kernel, int r)
{
	assert(kernel);
	if (c->json) {
		AUTO_DONE(jsonw) j = { 0 };
		kernel_json(&j, kernel);
		return jsonw_print(&j, stdout);
	}
	printf("%s  %s, %u modules%s\n", kernel->name, kernel->version, kernel->n_modules,
	       r ? "" : ", was there already");
	if (!kernel->n_modules && kernel->features[MVM_KERNEL_VIRTIO_BLK] == MVM_KERNEL_UNKNOWN)
		fprintf(stderr, "it came without modules: its guests boot only if all drivers "
				"are built in; a Debian package brings both\n");
	return 0;
}

static int add(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_kernel) kernel = NULL;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_kernel_add(mvm, args_at(a, 0), args_string(a, "name"),
				   args_flag(a, "force"), NULL, &kernel, &c->err);
	return r < 0 ? r : print_added(c, kernel, r);
}

static int download(struct cli_context *c, const char *dir)
{
	AUTO_FREE char *path = NULL;
	int r = mvm_kernel_download(dir, &c->progress, &path, &c->err);
	if (r < 0)
		return r;
	if (!c->json) {
		printf("%s\n", path);
		return 0;
	}
	AUTO_DONE(jsonw) j = { 0 };
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "path", path);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

static int fetch(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_kernel) kernel = NULL;
	const char *from = args_at(a, 0), *name = args_string(a, "name");
	if (from && args_given(a, "download"))
		return cli_usage(c, "--download is for Debian's package, not for REF");
	if (args_given(a, "download"))
		return download(c, args_string(a, "download"));
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = from ? mvm_kernel_pull(mvm, from, name, args_flag(a, "force"), &c->progress,
					   &kernel, &c->err)
			 : mvm_kernel_fetch(mvm, name, args_flag(a, "force"), &c->progress, &kernel,
					    &c->err);
	return r < 0 ? r : print_added(c, kernel, r);
}

static void damaged_row(struct cli_context *c, struct table *t, const struct mvm_kernel *k)
{
	struct mvm_error err = { .code = -EBADMSG, .reason = "kernel-damaged" };
	snprintf(err.text, sizeof(err.text), "%s", k->problem);
	snprintf(err.subject, sizeof(err.subject), "%s", k->name);
	note_error(c, &err);
	table_row(t, k->name, "damaged", "-", "-", "-", "-", "-");
}

static int list(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(mvm_kernel_list) all = { 0 };
	(void)a;

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_kernel_list(mvm, &all.v, &all.n, &c->err);
	if (r < 0)
		return r;
	if (c->json) {
		AUTO_DONE(jsonw) j = { 0 };
		jsonw_open(&j, NULL, '[');
		for (size_t i = 0; i < all.n; i++)
			kernel_json(&j, all.v[i]);
		jsonw_close(&j);
		return jsonw_print(&j, stdout);
	}
	AUTO_DONE(table) t = { .columns = 7 };
	table_row(&t, "NAME", "VERSION", "DIGEST", "SIZE", "MODULES", "ADDED", "FEATURES");
	for (size_t i = 0; i < all.n; i++) {
		char size[24], modules[16], digest[65];
		if (all.v[i]->problem) {
			damaged_row(c, &t, all.v[i]);
			continue;
		}
		str_hex(all.v[i]->vmlinux.bytes, sizeof(all.v[i]->vmlinux.bytes), digest);
		digest[12] = '\0'; /* enough to tell two apart */
		str_bytes(all.v[i]->vmlinux_bytes, size, sizeof(size));
		snprintf(modules, sizeof(modules), "%u", all.v[i]->n_modules);
		AUTO_FREE char *features = feature_list(all.v[i]);
		if (!features)
			return -ENOMEM;
		table_row(&t, all.v[i]->name, all.v[i]->version, digest, size, modules,
			  all.v[i]->added_at, features);
	}
	return table_print(&t, stdout);
}

static int rm_one(struct cli_context *c, struct mvm *mvm, const char *name, const struct args *a,
		  struct mvm_error *err)
{
	(void)c;
	(void)a;
	return mvm_kernel_remove(mvm, name, err);
}

static int rm(struct cli_context *c, const struct args *a)
{
	return each_positional(c, a, rm_one, "removed");
}

#define ADD_OPTIONS                                                                                \
	{ .name = "name",                                                                          \
	  .letter = 'n',                                                                           \
	  .kind = OPTION_STRING,                                                                   \
	  .value = "NAME",                                                                         \
	  .help = "the kernel's name in templates (default: its version)",                         \
	  .hint = VALUE_NEW_KERNEL },                                                              \
	{                                                                                          \
		.name = "force", .letter = 'f', .kind = OPTION_FLAG,                               \
		.help = "replace an existing kernel of that name"                                  \
	}

static const struct option add_options[] = { ADD_OPTIONS, OPTION_JSON, { 0 } };

static const struct option fetch_options[] = {
	ADD_OPTIONS,
	{ .name = "download",
	  .kind = OPTION_STRING,
	  .value = "DIR",
	  .help = "only download the package into this folder, unless the folder has "
		  "one, and print its path",
	  .hint = VALUE_DIR },
	OPTION_JSON,
	{ 0 },
};

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_kernel_add = {
	.path = "kernel add",
	.summary = "Import a guest kernel",
	.details = "FILE is a Debian package of a kernel (it is read, not installed), a vmlinuz or "
		   "an uncompressed vmlinux. 'mvm kernel fetch' gets one from Debian.",
	.examples = "mvm kernel add linux-image-6.1.0-*-cloud-amd64_*.deb --name debian-6.1",
	.positionals = { { .name = "FILE", .help = "the kernel", .hint = VALUE_FILE } },
	.options = add_options,
	.run = add,
};

const struct command command_kernel_fetch = {
	.path = "kernel fetch",
	.summary = "Import Debian's kernel for cloud guests, or one from a registry",
	.details =
		"Without REF it is Debian's. This needs Debian's apt, but no root. Nothing is "
		"installed. If this host's lists of packages do not have the kernel, mvm reads "
		"new lists into the data folder for the time of the command. Nothing is "
		"downloaded if the newest version is imported under that name already.\n\n"
		"On a host without apt, let a container of Debian download the package:\n\n"
		"  podman run --rm -v \"$PWD:/out\" -w /out debian:12 sh -c '\n"
		"    apt-get -qq update &&\n"
		"    apt-get download $(apt-cache depends linux-image-cloud-amd64 |\n"
		"    grep -o \"linux-image-[0-9].*\")'\n"
		"  mvm kernel add linux-image-*.deb --name debian-6.1\n\n"
		"With REF it is a file that 'mvm kernel add' takes, and that 'oras push REF FILE' "
		"has put into a registry of yours. Nobody publishes kernels for mvm, so REF has no "
		"default. Guests boot from a vmlinuz alone only if their drivers are built into "
		"it, as a distribution's seldom are.",
	.positionals = { { .name = "REF",
			   .help = "a kernel in a registry: HOST[:PORT]/NAME[:TAG][@DIGEST]",
			   .optional = true,
			   .hint = VALUE_REMOTE } },
	.examples = "mvm kernel fetch --name debian-6.1\n"
		    "mvm kernel fetch reg.example/kernels/debian:6.1 --name debian-6.1\n"
		    "mvm kernel fetch --download packages",
	.options = fetch_options,
	.run = fetch,
};

const struct command command_kernel_list = {
	.path = "kernel list",
	.summary = "List guest kernels",
	.options = json_options,
	.run = list,
};

const struct command command_kernel_rm = {
	.path = "kernel rm",
	.summary = "Remove guest kernels; revisions keep the kernels they have",
	.details = "The file of a kernel that no revision needs goes with the next 'mvm "
		   "template prune'.",
	.positionals = { { .name = "NAME",
			   .help = "the kernels",
			   .many = true,
			   .hint = VALUE_KERNEL } },
	.options = json_options,
	.run = rm,
};
