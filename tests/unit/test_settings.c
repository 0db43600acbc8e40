/* SPDX-License-Identifier: Apache-2.0 */
/* Settings by key, as template create and template edit take them and as details return them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "model/model_json.h"
#include "model/run.h"
#include "template/settings.h"

static struct mvm_template_setting text(const char *key, const char *const *value)
{
	return (struct mvm_template_setting){ .key = key, .values = value, .n_values = 1 };
}

static int apply_one(struct mvm_template_spec *spec, struct mvm_template_setting s,
		     struct mvm_error *err)
{
	return settings_apply(spec, &s, 1, err);
}

static void every_key_sets_its_member(void **state)
{
	(void)state;
	static const char *const url = "http://localhost:80/";
	static const char *const argv[] = { "/bin/x", "y" };
	static const char *const five = "5", *const big = "4096", *const none = "none";
	static const char *const image = "image", *const name = "k";
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	struct mvm_error err;
	const struct mvm_template_setting settings[] = {
		text("flake_ref", &url),       text("profile", &name),
		text("role", &name),	       text("vcpus", &five),
		text("mem_mib", &big),	       text("data_disk_mib", &big),
		{ "command", argv, 2 },	       text("network", &none),
		text("initrd", &image),	       text("kernel", &name),
		text("boot_args", &name),      text("health.http", &url),
		text("health.retries", &five), { "on_restore", argv, 2 },
		text("root_disk_mib", &big),
	};
	assert_int_equal(settings_apply(&spec, settings, MVM_ARRAY_SIZE(settings), &err), 0);
	assert_string_equal(spec.flake_ref, url);
	assert_string_equal(spec.profile, "k");
	assert_int_equal(spec.vcpus, 5);
	assert_int_equal(spec.mem_mib, 4096);
	assert_int_equal(spec.data_disk_mib, 4096);
	assert_int_equal(spec.root_disk_mib, 4096);
	assert_string_equal(spec.run.command.v[1], "y");
	assert_int_equal(spec.run.network, MVM_NETWORK_NONE);
	assert_int_equal(spec.run.initrd, MVM_INITRD_IMAGE);
	assert_int_equal(spec.run.health.kind, MVM_HEALTH_HTTP);
	assert_string_equal(spec.run.health.http, url);
	assert_int_equal(spec.run.health.retries, 5);
	assert_int_equal(spec.run.on_restore.n, 2);

	/* and each set value is printed again */
	struct mvm_template_setting *told = NULL;
	size_t n = 0;
	assert_int_equal(settings_of_run(&spec.run, &told, &n), 0);
	assert_int_equal(n, 8);
	assert_string_equal(told[0].key, "command");
	assert_string_equal(told[0].values[1], "y");
	assert_string_equal(told[5].key, "health.http");
	assert_string_equal(told[6].values[0], "5");
	settings_free(told, n);
}

static void variables_are_added_replaced_and_dropped(void **state)
{
	(void)state;
	static const char *const two[] = { "A=1", "B=2" }, *const other[] = { "B=3" };
	AUTO_DONE(mvm_template_spec) spec = { 0 };

	assert_int_equal(apply_one(&spec, (struct mvm_template_setting){ "env", two, 2 }, NULL), 0);
	assert_int_equal(apply_one(&spec, (struct mvm_template_setting){ "env", other, 1 }, NULL),
			 0);
	assert_int_equal(spec.run.env.n, 2);
	assert_string_equal(spec.run.env.v[0], "A=1");
	assert_string_equal(spec.run.env.v[1], "B=3");
	assert_int_equal(apply_one(&spec, (struct mvm_template_setting){ .key = "env" }, NULL), 0);
	assert_int_equal(spec.run.env.n, 0);
}

static void health_is_replaced_as_a_whole(void **state)
{
	(void)state;
	static const char *const url = "http://localhost/", *const port = "80";
	AUTO_DONE(mvm_template_spec) spec = { 0 };

	assert_int_equal(apply_one(&spec, text("health.http", &url), NULL), 0);
	assert_int_equal(apply_one(&spec, text("health.tcp", &port), NULL), 0);
	assert_int_equal(spec.run.health.kind, MVM_HEALTH_TCP);
	assert_int_equal(spec.run.health.tcp, 80);
	assert_null(spec.run.health.http);
	assert_int_equal(apply_one(&spec, (struct mvm_template_setting){ .key = "health" }, NULL),
			 0);
	assert_false(spec.run.health.set);
}

static void on_restore_is_a_command_or_an_action(void **state)
{
	(void)state;
	static const char *const restart = "restart", *const program = "reload";
	static const char *const wrong = "signal:NONE", *const point = "boot";
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	struct mvm_template_setting *told = NULL;
	size_t n = 0;

	assert_int_equal(apply_one(&spec, text("on_restore", &restart), NULL), 0);
	assert_string_equal(spec.run.restore_action, "restart");
	assert_int_equal(apply_one(&spec, text("on_restore", &program), NULL), 0);
	assert_null(spec.run.restore_action);
	assert_string_equal(spec.run.on_restore.v[0], "reload");
	assert_int_equal(apply_one(&spec, text("on_restore", &wrong), NULL), 0);
	assert_int_equal(spec.run.on_restore.n, 0);
	const char *key;
	assert_non_null(run_problem(&spec.run, &key));
	assert_int_equal(apply_one(&spec, text("on_restore", &restart), NULL), 0);
	assert_int_equal(apply_one(&spec, text("snapshot.point", &point), NULL), 0);
	assert_int_equal(spec.run.snapshot_point, MVM_POINT_BOOT);
	assert_int_equal(settings_of_run(&spec.run, &told, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(told[0].values[0], "restart");
	assert_string_equal(told[1].values[0], "boot");
	settings_free(told, n);
	assert_int_equal(
		apply_one(&spec, (struct mvm_template_setting){ "on_restore", NULL, 0 }, NULL), 0);
	assert_null(spec.run.restore_action);
}

static void null_resets_each_key_to_its_default(void **state)
{
	(void)state;
	static const char *const url = "http://localhost/", *const one = "1", *const big = "4096";
	static const char *const other = "other", *const none = "none";
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	const struct mvm_template_setting set[] = {
		text("profile", &other), text("role", &other),	 text("vcpus", &one),
		text("mem_mib", &big),	 text("network", &none), text("data_disk_mib", &big),
	};
	const struct mvm_template_setting reset[] = {
		/* a count says nothing without values */
		{ "profile", NULL, 1 }, { "role", NULL, 0 },	{ "vcpus", NULL, 0 },
		{ "mem_mib", NULL, 7 }, { "network", NULL, 0 }, { "data_disk_mib", NULL, 0 },
	};

	assert_int_equal(settings_apply(&spec, set, MVM_ARRAY_SIZE(set), NULL), 0);
	assert_int_equal(settings_apply(&spec, reset, MVM_ARRAY_SIZE(reset), NULL), 0);
	assert_string_equal(spec.profile, MVM_DEFAULT_PROFILE);
	assert_string_equal(spec.role, MVM_DEFAULT_ROLE);
	assert_int_equal(spec.vcpus, MVM_DEFAULT_VCPUS);
	assert_int_equal(spec.mem_mib, MVM_DEFAULT_MEM_MIB);
	assert_int_equal(spec.data_disk_mib, 0);
	assert_int_equal(spec.run.network, MVM_NETWORK_UNSET);

	/* a key of [health] that is reset leaves the others alone */
	const struct mvm_template_setting checks[] = { text("health.http", &url),
						       text("health.retries", &one) };
	assert_int_equal(settings_apply(&spec, checks, 2, NULL), 0);
	assert_int_equal(
		apply_one(&spec, (struct mvm_template_setting){ .key = "health.exec" }, NULL), 0);
	assert_int_equal(spec.run.health.kind, MVM_HEALTH_HTTP);
	assert_int_equal(
		apply_one(&spec, (struct mvm_template_setting){ .key = "health.http" }, NULL), 0);
	assert_null(spec.run.health.http);
	assert_int_equal(spec.run.health.kind, MVM_HEALTH_AGENT);
	assert_int_equal(spec.run.health.retries, 1);
	assert_true(spec.run.health.set);
	assert_int_equal(
		apply_one(&spec, (struct mvm_template_setting){ .key = "health.retries" }, NULL),
		0);
	assert_false(spec.run.health.set);
}

static void the_error_names_the_wrong_setting(void **state)
{
	(void)state;
	static const char *const x = "x", *const pair[] = { "1", "2" }, *const many = "300";
	static const char *const hole[] = { "a", NULL };
	static const struct {
		struct mvm_template_setting setting;
		const char *says;
	} cases[] = {
		{ { "vpcus", &x, 1 }, "did you mean 'vcpus'" },
		{ { NULL, &x, 1 }, "there is no setting ''" },
		{ { "vcpus", &x, 1 }, "vcpus: 'x' is no number" },
		{ { "vcpus", &many, 1 }, "vcpus: '300' is no number from" },
		{ { "vcpus", pair, 2 }, "vcpus: expected one value, not 2" },
		{ { "kernel", pair, 0 }, "kernel: expected one value, not 0" },
		{ { "network", &x, 1 }, "neither \"none\" nor \"user\"" },
		{ { "initrd", &x, 1 }, "neither \"mvm\" nor \"image\"" },
		{ { "health", &x, 1 }, "set its keys" },
		{ { "health.tcp", &x, 1 }, "health.tcp: 'x' is no number" },
		{ { "command", hole, 2 }, "command: a value is missing" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(mvm_template_spec) spec = { 0 };
		struct mvm_error err = { 0 };
		assert_int_equal(apply_one(&spec, cases[i].setting, &err), -EINVAL);
		if (!strstr(err.text, cases[i].says))
			fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
	}
	const struct mvm_template_setting twice[] = { text("kernel", &x), text("kernel", &x) };
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	assert_int_equal(settings_apply(&spec, twice, 2, NULL), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_sets_its_member),
		cmocka_unit_test(variables_are_added_replaced_and_dropped),
		cmocka_unit_test(health_is_replaced_as_a_whole),
		cmocka_unit_test(on_restore_is_a_command_or_an_action),
		cmocka_unit_test(null_resets_each_key_to_its_default),
		cmocka_unit_test(the_error_names_the_wrong_setting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
