/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "model/flake_ref.h"
#include "model/model_json.h"
#include "model/run.h"
#include "model/strings.h"

#define HEAD	"template_id = \"web\"\nflake_ref = \"dir:root\"\n"
#define VARIANT "[[variants]]\nrole = \"worker\"\nvcpus = 2\nmem_mib = 512\n"

static int parse(const char *text, unsigned flags, struct mvm_template_config *ret,
		 struct mvm_strings *warnings, struct mvm_error *err)
{
	return config_parse(text, strlen(text), "template.toml", "/base", flags, ret, warnings,
			    err);
}

/* The complete example of the documented format. */
static const char example[] = "template_id = \"web\"\n"
			      "flake_ref   = \".\"\n"
			      "profile     = \"minimal\"\n"
			      "command = [\"/bin/httpd\", \"-f\", \"-p\", \"8080\"]\n"
			      "env     = { PORT = \"8080\" }\n"
			      "network = \"user\"\n"
			      "kernel  = \"debian-6.1\"\n"
			      "boot_args = \"quiet\"\n"
			      "on_restore = [\"/bin/reload\"]\n"
			      "[health]\n"
			      "http = \"http://127.0.0.1:8080/\"\n"
			      "interval_ms = 100\n"
			      "timeout_s   = 30\n"
			      "[[variants]]\n"
			      "role    = \"worker\"\n"
			      "vcpus   = 2\n"
			      "mem_mib = 512\n"
			      "[[variants]]\n"
			      "name = \"web-gw\"\n"
			      "role = \"gateway\"\n"
			      "profile = \"full\"\n"
			      "vcpus = 1\n"
			      "mem_mib = 256\n"
			      "data_disk_mib = 1024\n"
			      "root_disk_mib = 4096\n"
			      "command = []\n"
			      "network = \"none\"\n"
			      "boot_args = \"\"\n"
			      "health = { tcp = 80 }\n";

static void variants_inherit_settings_from_the_config(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_config) c = { 0 };
	AUTO_DONE(mvm_strings) warnings = { 0 };
	assert_int_equal(parse(example, 0, &c, &warnings, NULL), 0);
	assert_int_equal(warnings.n, 0);
	assert_string_equal(c.flake_ref, "/base");
	assert_int_equal(c.n_variants, 2);

	const struct mvm_template_variant *w = &c.variants[0], *g = &c.variants[1];
	assert_string_equal(w->name, "web-worker");
	assert_string_equal(w->profile, "minimal");
	assert_int_equal(w->data_disk_mib, 0);
	assert_int_equal(w->root_disk_mib, 0);
	assert_int_equal(w->run.command.n, 4);
	assert_string_equal(w->run.env.v[0], "PORT=8080");
	assert_int_equal(w->run.network, MVM_NETWORK_USER);
	assert_string_equal(w->run.kernel, "debian-6.1");
	assert_string_equal(w->run.boot_args, "quiet");
	assert_int_equal(w->run.health.kind, MVM_HEALTH_HTTP);
	assert_int_equal(w->run.health.timeout_s, 30);
	assert_string_equal(w->run.on_restore.v[0], "/bin/reload");

	assert_string_equal(g->name, "web-gw");
	assert_string_equal(g->profile, "full");
	assert_int_equal(g->data_disk_mib, 1024);
	assert_int_equal(g->root_disk_mib, 4096);
	assert_null(g->run.command.v);
	assert_null(g->run.boot_args);
	assert_int_equal(g->run.network, MVM_NETWORK_NONE);
	assert_int_equal(g->run.health.kind, MVM_HEALTH_TCP);
	assert_int_equal(g->run.health.tcp, 80);
	assert_int_equal(g->run.health.timeout_s, 0);
}

static void an_initrd_of_the_image_is_inherited_and_can_be_undone(void **state)
{
	(void)state;
	static const struct {
		const char *config, *variant;
		enum mvm_initrd initrd;
	} cases[] = {
		{ "", "", MVM_INITRD_UNSET },
		{ "initrd = \"mvm\"\n", "", MVM_INITRD_UNSET },
		{ "initrd = \"image\"\n", "", MVM_INITRD_IMAGE },
		{ "", "initrd = \"image\"\n", MVM_INITRD_IMAGE },
		{ "initrd = \"image\"\ncommand = [\"/bin/sh\"]\n", "initrd = \"mvm\"\n",
		  MVM_INITRD_UNSET },
		{ "command = [\"/bin/sh\"]\n", "initrd = \"image\"\ncommand = []\n",
		  MVM_INITRD_IMAGE },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_config) c = { 0 };
		AUTO_FREE char *text = str_printf(HEAD "%s" VARIANT "%s", cases[i].config,
						  cases[i].variant);
		assert_int_equal(parse(text, 0, &c, NULL, NULL), 0);
		assert_int_equal(c.variants[0].run.initrd, cases[i].initrd);
	}
}

static void on_restore_is_a_command_or_an_action_and_replaces_the_other(void **state)
{
	(void)state;
	static const struct {
		const char *config, *variant, *action;
		size_t words;
	} cases[] = {
		{ "on_restore = \"restart\"\n", "", "restart", 0 },
		{ "on_restore = \"signal:usr1\"\n", "", "signal:usr1", 0 },
		{ "on_restore = [\"/bin/x\", \"y\"]\n", "", NULL, 2 },
		{ "on_restore = [\"/bin/x\"]\n", "on_restore = \"restart\"\n", "restart", 0 },
		{ "on_restore = \"restart\"\n", "on_restore = [\"/bin/x\"]\n", NULL, 1 },
		{ "on_restore = \"restart\"\n", "on_restore = []\n", NULL, 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_config) c = { 0 };
		AUTO_FREE char *text = str_printf(HEAD "%s" VARIANT "%s", cases[i].config,
						  cases[i].variant);
		assert_int_equal(parse(text, 0, &c, NULL, NULL), 0);
		const struct mvm_run *run = &c.variants[0].run;
		assert_int_equal(run->on_restore.n, cases[i].words);
		assert_true(str_eq(run->restore_action, cases[i].action));
		assert_int_equal(run_starts_in_clone(run), str_eq(cases[i].action, "restart"));
	}
}

static void the_snapshots_point_is_healthy_unless_it_is_boot(void **state)
{
	(void)state;
	static const struct {
		const char *config, *variant;
		enum mvm_snapshot_point point;
	} cases[] = {
		{ "", "", MVM_POINT_UNSET },
		{ "", "snapshot = { point = \"boot\" }\n", MVM_POINT_BOOT },
		{ "snapshot = { point = \"boot\" }\n", "", MVM_POINT_BOOT },
		{ "snapshot = { point = \"boot\" }\n", "snapshot.point = \"healthy\"\n",
		  MVM_POINT_UNSET }, /* the default, which changes no revision */
		{ "snapshot = {}\n", "", MVM_POINT_UNSET },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_config) c = { 0 };
		AUTO_FREE char *text = str_printf(HEAD "%s" VARIANT "%s", cases[i].config,
						  cases[i].variant);
		assert_int_equal(parse(text, 0, &c, NULL, NULL), 0);
		assert_int_equal(c.variants[0].run.snapshot_point, cases[i].point);
	}
}

static void profiles_default_to_minimal_and_are_inherited(void **state)
{
	(void)state;
	static const struct {
		const char *config, *variant, *profile;
	} cases[] = {
		{ "", "", "minimal" },
		{ "profile = \"full\"\n", "", "full" },
		{ "profile = \"full\"\n", "profile = \"\"\n", "full" },
		{ "profile = \"full\"\n", "profile = \"own\"\n", "own" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_config) c = { 0 };
		AUTO_FREE char *text = str_printf(HEAD "%s" VARIANT "%s", cases[i].config,
						  cases[i].variant);
		assert_int_equal(parse(text, 0, &c, NULL, NULL), 0);
		assert_string_equal(c.variants[0].profile, cases[i].profile);
	}
}

static void an_empty_kernel_in_a_variant_undoes_the_files(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_config) c = { 0 };
	assert_int_equal(
		parse(HEAD "kernel = \"k\"\n" VARIANT "kernel = \"\"\n", 0, &c, NULL, NULL), 0);
	assert_null(c.variants[0].run.kernel);
}

static const struct {
	const char *text, *says;
} mistakes[] = {
	{ VARIANT, "template.toml: flake_ref: is missing" },
	{ HEAD, "template.toml: variants: is missing: at least one [[variants]] is needed" },
	{ HEAD "variants = []\n",
	  "template.toml:3: variants: is missing: at least one [[variants]] is needed" },
	{ HEAD "variants = 3\n",
	  "template.toml:3: variants: expected [[variants]], not a whole number" },
	{ "flake_ref = \"\"\n" VARIANT, "template.toml:1: flake_ref: is empty" },
	{ "flake_ref = 1\n" VARIANT,
	  "template.toml:1: flake_ref: expected a string, not a whole number" },
	{ "flake_ref = \"dir:.\"\n" VARIANT,
	  "template.toml:2: variants[0].name: is missing, and without a template_id "
	  "mvm cannot make one" },
	{ HEAD "[[variants]]\nrole = \"w\"\nvcpus = 300\nmem_mib = 1\n",
	  "template.toml:5: variants[0].vcpus: 300 is more than 32" },
	{ HEAD VARIANT "data_disk_mib = 7\n",
	  "template.toml:7: variants[0].data_disk_mib: 7 is neither 0 nor at least 8" },
	{ HEAD VARIANT "root_disk_mib = 7\n",
	  "template.toml:7: variants[0].root_disk_mib: 7 is neither 0 nor at least 8" },
	{ HEAD VARIANT "root_disk_mib = 8388609\n",
	  "template.toml:7: variants[0].root_disk_mib: 8388609 is more than 8388608" },
	{ HEAD VARIANT "[variants.health]\nretries = 1\nhttp = \"ftp://a\"\n",
	  "template.toml:9: variants[0].health.http: expected a URL that starts with "
	  "http://" },
	{ HEAD VARIANT "[variants.health]\nhttp = \"http://example.com/\"\n",
	  "template.toml:8: variants[0].health.http: expected an IPv4 address, an IPv6 "
	  "address in brackets or localhost as the host" },
	{ HEAD "health = { http = \"http://127.0.0.1:0/\" }\n" VARIANT,
	  "template.toml:3: health.http: expected a port from 1 to 65535 after the host" },
	{ HEAD VARIANT "data_disk_mib = -1\n",
	  "template.toml:7: variants[0].data_disk_mib: -1 is less than 0" },
	{ HEAD "[[variants]]\nrole = \"w\"\nvcpus = 2.0\nmem_mib = 1\n",
	  "template.toml:5: variants[0].vcpus: expected a whole number, not a number with "
	  "a "
	  "fraction" },
	{ HEAD "[[variants]]\nvcpus = 1\nmem_mib = 128\n",
	  "template.toml:3: variants[0].role: is missing" },
	{ HEAD VARIANT VARIANT,
	  "template.toml:7: variants[1].name: 'web-worker' is also the name of "
	  "variants[0]" },
	{ HEAD "[[variants]]\nrole = \"W\"\nvcpus = 1\nmem_mib = 128\n",
	  "template.toml:4: variants[0].role: 'W' makes the template name 'web-W', which "
	  "is "
	  "not valid: use 1 to 63 of a-z 0-9 - _, starting with a letter or digit" },
	{ HEAD "network = \"tap\"\n" VARIANT,
	  "template.toml:3: network: 'tap': expected \"none\" or \"user\"" },
	{ HEAD "initrd = \"ours\"\n" VARIANT,
	  "template.toml:3: initrd: 'ours': expected \"mvm\" or \"image\"" },
	{ HEAD "command = [\"/bin/sh\"]\n" VARIANT "initrd = \"image\"\n",
	  "template.toml:4: variants[0].command: needs mvm's agent, which initrd = "
	  "\"image\" boots without" },
	{ HEAD "on_restore = \"reload\"\n" VARIANT,
	  "template.toml:3: on_restore: is neither \"restart\" nor \"signal:\" and a "
	  "signal, as in signal:USR1" },
	{ HEAD "on_restore = \"signal:NONE\"\n" VARIANT,
	  "template.toml:3: on_restore: is neither \"restart\" nor \"signal:\" and a "
	  "signal, as in signal:USR1" },
	{ HEAD "snapshot = { point = \"late\" }\n" VARIANT,
	  "template.toml:3: snapshot.point: 'late': expected \"boot\" or \"healthy\"" },
	{ HEAD "on_restore = \"restart\"\n" VARIANT "snapshot.point = \"boot\"\n",
	  "template.toml:4: variants[0].on_restore: is not needed: with "
	  "snapshot.point = \"boot\" each clone starts the workload itself" },
	{ HEAD "initrd = \"image\"\n" VARIANT "health = { tcp = 80 }\n",
	  "template.toml:8: variants[0].health: needs mvm's agent, which initrd = "
	  "\"image\" boots without" },
	{ HEAD "command = \"/bin/sh\"\n" VARIANT,
	  "template.toml:3: command: expected an array of strings, not a string" },
	{ HEAD "command = [\"/bin/sh\", 1]\n" VARIANT,
	  "template.toml:3: command: item 1: expected a string, not a whole number" },
	{ HEAD "command = [\"a\\u0000b\"]\n" VARIANT,
	  "template.toml:3: command: item 0 has a NUL character" },
	{ HEAD "env = { PORT = 80 }\n" VARIANT,
	  "template.toml:3: env: PORT: expected a string, not a whole number" },
	{ HEAD "kernel = \"../k\"\n" VARIANT, "template.toml:3: kernel: expected the name "
					      "of a kernel: 1 to 63 of A-Z a-z 0-9 . "
					      "_ -" },
	{ HEAD "boot_args = \"a\\nb\"\n" VARIANT,
	  "template.toml:3: boot_args: expected at most 1024 printable ASCII characters" },
	{ HEAD "health = { tcp = 1, http = \"http://x/\" }\n" VARIANT,
	  "template.toml:3: health: has more than one of exec, http and tcp" },
	{ HEAD VARIANT "health = { tcp = 70000 }\n",
	  "template.toml:7: variants[0].health.tcp: 70000 is more than 65535" },
	{ "template_id = \"a/b\"\nflake_ref = \".\"\n" VARIANT,
	  "template.toml:1: template_id: 'a/b': use 1 to 63 of a-z 0-9 - _, starting with "
	  "a "
	  "letter or digit" },
};

static void mistakes_are_named_with_file_line_and_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(mistakes); i++) {
		AUTO_DONE(mvm_template_config) c = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(parse(mistakes[i].text, 0, &c, NULL, &err), -EINVAL);
		assert_string_equal(err.text, mistakes[i].says);
		assert_null(c.flake_ref);
	}
}

static void unknown_keys_warn_or_fail_when_strict(void **state)
{
	(void)state;
	static const char text[] = HEAD "colour = 1\n" VARIANT "vcpu = 3\n";
	AUTO_DONE(mvm_template_config) c = { 0 };
	AUTO_DONE(mvm_strings) warnings = { 0 };
	struct mvm_error err = { 0 };

	assert_int_equal(parse(text, 0, &c, &warnings, NULL), 0);
	assert_int_equal(warnings.n, 2);
	assert_string_equal(warnings.v[0], "template.toml:3: colour: unknown key");
	assert_string_equal(
		warnings.v[1],
		"template.toml:8: variants[0].vcpu: unknown key; did you mean 'vcpus'?");

	AUTO_DONE(mvm_template_config) strict = { 0 };
	assert_int_equal(parse(text, MVM_TEMPLATE_CONFIG_STRICT, &strict, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "template.toml:3: colour: unknown key");
}

static void a_missing_key_may_be_misspelt(void **state)
{
	(void)state;
	static const struct {
		const char *text, *warns, *says;
	} cases[] = {
		{ "flak_ref = \"dir:root\"\n" VARIANT,
		  "template.toml:1: flak_ref: unknown key; did you mean 'flake_ref'?",
		  "template.toml: flake_ref: is missing" },
		{ HEAD "[[variant]]\n",
		  "template.toml:3: variant: unknown key; did you mean 'variants'?",
		  "template.toml: variants: is missing: at least one [[variants]] is needed" },
		{ HEAD "[[variants]]\nrol = \"w\"\nmem_mib = 128\n",
		  "template.toml:4: variants[0].rol: unknown key; did you mean 'role'?",
		  "template.toml:3: variants[0].role: is missing" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_config) c = { 0 };
		AUTO_DONE(mvm_strings) warnings = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(parse(cases[i].text, 0, &c, &warnings, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].says);
		assert_int_equal(warnings.n, 1);
		assert_string_equal(warnings.v[0], cases[i].warns);
		assert_int_equal(parse(cases[i].text, MVM_TEMPLATE_CONFIG_STRICT, &c, NULL, &err),
				 -EINVAL);
		assert_string_equal(err.text, cases[i].warns);
	}
}

static void the_largest_numbers_are_read(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_config) c = { 0 };
	assert_int_equal(parse(HEAD "[[variants]]\nrole = \"w\"\nvcpus = 32\n"
				    "mem_mib = 4294967295\ndata_disk_mib = 8388608\n",
			       0, &c, NULL, NULL),
			 0);
	assert_int_equal(c.variants[0].vcpus, 32);
	assert_int_equal(c.variants[0].mem_mib, UINT32_MAX);
	assert_int_equal(c.variants[0].data_disk_mib, 8u << 20);
}

static void a_thousand_variants_are_fine(void **state)
{
	(void)state;
	AUTO_DONE(strbuf) text = { 0 };
	AUTO_DONE(mvm_template_config) c = { 0 };

	strbuf_adds(&text, HEAD);
	for (int i = 0; i < 1000; i++)
		strbuf_addf(&text, "[[variants]]\nrole = \"r%d\"\nvcpus = 1\nmem_mib = 128\n", i);
	assert_int_equal(parse(text.data, 0, &c, NULL, NULL), 0);
	assert_int_equal(c.n_variants, 1000);
	assert_string_equal(c.variants[999].name, "web-r999");
}

static void only_relative_paths_in_references_are_made_absolute(void **state)
{
	(void)state;
	static const struct {
		const char *ref, *absolute;
	} cases[] = {
		{ ".", "/base" },
		{ "./x", "/base/x" },
		{ "..", "/base/.." },
		{ "../x#a", "/base/../x#a" },
		{ ".#web", "/base#web" },
		{ ".?dir=sub#web", "/base?dir=sub#web" },
		{ "/abs#web", "/abs#web" },
		{ "nixpkgs#hello", "nixpkgs#hello" },
		{ "github:owner/repo", "github:owner/repo" },
		{ "git+file:./x", "git+file:///base/x" },
		{ "git+file:.?submodules=1", "git+file:///base?submodules=1" },
		{ "git+file:.", "git+file:///base" },
		{ "git+file:x#a", "git+file:///base/x#a" },
		{ "git+file:/abs", "git+file:/abs" },
		{ "git+file:///abs", "git+file:///abs" },
		{ "path:x?dir=d", "path:/base/x?dir=d" },
		{ "path:.", "path:/base" },
		{ "dir:root", "dir:/base/root" },
		{ "dir:.hidden", "dir:/base/.hidden" },
		{ "dir:/abs", "dir:/abs" },
		{ "tar:../x.tar", "tar:/base/../x.tar" },
		{ "oci:img:tag", "oci:/base/img:tag" },
		{ "oci:.:tag", "oci:/base:tag" },
		{ "oci-archive:./a.tar:v1", "oci-archive:/base/a.tar:v1" },
		{ "docker-archive:a.tar", "docker-archive:/base/a.tar" },
		{ "docker://host/repo:tag", "docker://host/repo:tag" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *absolute = NULL;
		assert_int_equal(flake_ref_absolute(cases[i].ref, "/base", &absolute, NULL), 0);
		assert_string_equal(absolute, cases[i].absolute);
	}
}

static void a_scheme_without_a_path_is_refused(void **state)
{
	static const char *const cases[] = {
		"dir:",	       "tar:",	       "oci:",
		"oci::tag",    "oci-archive:", "docker-archive::v1",
		"path:",       "path:?dir=d",  "git+file:",
		"git+file:#a",
	};

	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		char *absolute = NULL;
		struct mvm_error err = { 0 };
		assert_int_equal(flake_ref_absolute(cases[i], "/base", &absolute, &err), -EINVAL);
		assert_non_null(strstr(err.text, "has an empty path"));
	}
}

static void folders_of_flakes_are_written_as_urls(void **state)
{
	static const char base[] = "/srv/a b/\xc3\xbc?#%20";
	static const struct {
		const char *ref, *absolute;
	} cases[] = {
		{ ".", "/srv/a%20b/%C3%BC%3F%23%2520" },
		{ "./x#y", "/srv/a%20b/%C3%BC%3F%23%2520/x#y" },
		{ "path:.?dir=d", "path:/srv/a%20b/%C3%BC%3F%23%2520?dir=d" },
		{ "git+file:.?submodules=1",
		  "git+file:///srv/a%20b/%C3%BC%3F%23%2520?submodules=1" },
		{ "dir:x", "dir:/srv/a b/\xc3\xbc?#%20/x" },
		{ "oci:.:tag", "oci:/srv/a b/\xc3\xbc?#%20:tag" },
		{ "/a b", "/a b" },
	};

	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_FREE char *absolute = NULL;
		assert_int_equal(flake_ref_absolute(cases[i].ref, base, &absolute, NULL), 0);
		assert_string_equal(absolute, cases[i].absolute);
	}
}

static void references_count_from_the_folder_of_the_file(void **state)
{
	(void)state;
	char dir[] = "/tmp/mvm-config-XXXXXX";
	AUTO_DONE(mvm_template_config) c = { 0 };
	struct mvm_error err = { 0 };
	static const char text[] = HEAD VARIANT;

	assert_non_null(mkdtemp(dir));
	AUTO_FREE char *path = str_printf("%s/template.toml", dir);
	AUTO_FREE char *expected = str_printf("dir:%s/root", dir);
	assert_int_equal(file_create_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
	assert_int_equal(config_load(path, 0, &c, NULL, &err), 0);
	assert_string_equal(c.flake_ref, expected);
	assert_int_equal(tree_remove_at(AT_FDCWD, dir), 0);

	assert_int_equal(config_load(path, 0, &c, NULL, &err), -ENOENT);
	assert_true(str_starts(err.text, "cannot read '/tmp/mvm-config-"));
}

static void a_spec_is_made_from_a_variant(void **state)
{
	(void)state;
	AUTO_DONE(mvm_template_config) c = { 0 };
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	assert_int_equal(parse(example, 0, &c, NULL, NULL), 0);
	assert_int_equal(mvm_template_spec_from_variant(&c, &c.variants[0], 5, &spec, NULL), 0);
	assert_string_equal(spec.template_id, "web-worker");
	assert_string_equal(spec.flake_ref, "/base");
	assert_string_equal(spec.role, "worker");
	assert_int_equal(spec.vcpus, 2);
	assert_int_equal(spec.created_at, 5);
	assert_int_equal(spec.updated_at, 5);
	assert_int_equal(spec.run.command.n, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variants_inherit_settings_from_the_config),
		cmocka_unit_test(an_initrd_of_the_image_is_inherited_and_can_be_undone),
		cmocka_unit_test(on_restore_is_a_command_or_an_action_and_replaces_the_other),
		cmocka_unit_test(the_snapshots_point_is_healthy_unless_it_is_boot),
		cmocka_unit_test(profiles_default_to_minimal_and_are_inherited),
		cmocka_unit_test(an_empty_kernel_in_a_variant_undoes_the_files),
		cmocka_unit_test(mistakes_are_named_with_file_line_and_key),
		cmocka_unit_test(unknown_keys_warn_or_fail_when_strict),
		cmocka_unit_test(a_missing_key_may_be_misspelt),
		cmocka_unit_test(the_largest_numbers_are_read),
		cmocka_unit_test(a_thousand_variants_are_fine),
		cmocka_unit_test(only_relative_paths_in_references_are_made_absolute),
		cmocka_unit_test(a_scheme_without_a_path_is_refused),
		cmocka_unit_test(folders_of_flakes_are_written_as_urls),
		cmocka_unit_test(references_count_from_the_folder_of_the_file),
		cmocka_unit_test(a_spec_is_made_from_a_variant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
