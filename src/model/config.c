/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/config_keys.h"
#include "model/flake_ref.h"
#include "model/model_json.h"
#include "model/name.h"
#include "model/policy.h"
#include "model/run.h"
#include "model/strings.h"
#include "model/toml_read.h"

#define VARIANTS_MAX 4096

static void variant_done(struct mvm_template_variant *v)
{
	free(v->name);
	free(v->role);
	free(v->profile);
	mvm_run_done(&v->run);
}

void config_done(struct mvm_template_config *config)
{
	for (size_t i = 0; i < config->n_variants; i++)
		variant_done(&config->variants[i]);
	free(config->variants);
	free(config->template_id);
	free(config->flake_ref);
	free(config->profile);
	mvm_run_done(&config->run);
	*config = (struct mvm_template_config){ 0 };
}

static int read_health(const struct toml_table *t, struct mvm_health *ret, struct mvm_error *err)
{
	struct toml_table table;
	uint32_t port = 0;
	int exec, http, tcp;

	int r = toml_get_table(t, "health", &table, err);
	if (r <= 0)
		return r;
	if ((r = config_check_keys(&table, CONFIG_HEALTH, err)) < 0)
		return r;
	if ((exec = toml_get_strings(&table, "exec", &ret->exec, err)) < 0)
		return exec;
	if ((http = toml_get_string(&table, "http", &ret->http, err)) < 0)
		return http;
	if ((tcp = config_get_u32(&table, CONFIG_HEALTH, "tcp", &port, err)) < 0)
		return tcp;
	if (exec + http + tcp > 1)
		return toml_key_error(t, "health", err, "has more than one of exec, http and tcp");
	ret->set = true;
	ret->tcp = (uint16_t)port;
	ret->kind = health_kind(exec > 0, http > 0, tcp > 0);
	if ((r = config_get_u32(&table, CONFIG_HEALTH, "interval_ms", &ret->interval_ms, err)) <
		    0 ||
	    (r = config_get_u32(&table, CONFIG_HEALTH, "timeout_s", &ret->timeout_s, err)) < 0 ||
	    (r = config_get_u32(&table, CONFIG_HEALTH, "retries", &ret->retries, err)) < 0 ||
	    (r = config_get_u32(&table, CONFIG_HEALTH, "start_grace_s", &ret->start_grace_s, err)) <
		    0)
		return r;
	return 1;
}

/* Read a key that has one of two names.  Returns its value, 0 if the key is missing, or -errno. */
static int read_choice(const struct toml_table *t, const char *key, enum run_choice choice,
		       struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	int r = toml_get_string(t, key, &name, err);
	if (r <= 0)
		return r;
	r = run_choice_parse(choice, name);
	if (r < 0)
		return toml_key_error(t, key, err, "'%s': expected \"%s\" or \"%s\"", name,
				      run_choice_name(choice, 1), run_choice_name(choice, 2));
	return r;
}

static int read_network_mode(const struct toml_table *t, const char *key, enum mvm_network *ret,
			     struct mvm_error *err)
{
	int r = read_choice(t, key, RUN_NETWORK, err);
	if (r > 0)
		*ret = (enum mvm_network)r;
	return r;
}

/* Read a list of rules.  The error names the rule that is wrong, and why. */
static int read_rules(const struct toml_table *t, const char *key, struct mvm_strings *ret,
		      struct mvm_error *err)
{
	struct policy_rule rule;
	struct mvm_error why;
	int r = toml_get_strings(t, key, ret, err);
	for (size_t i = 0; i < ret->n && r >= 0; i++)
		if (policy_rule_parse(ret->v[i], &rule, &why) < 0)
			r = toml_key_error(t, key, err, "%s", why.text);
	return r;
}

/* Read network: a string is the mode, a table has more keys. */
static int read_network(const struct toml_table *t, struct mvm_run *ret, struct mvm_error *err)
{
	const struct toml_value *v = toml_get(t->value, "network");
	struct toml_table table;
	if (v && v->type == TOML_STRING)
		return read_network_mode(t, "network", &ret->network, err);
	int r = toml_get_table(t, "network", &table, err);
	if (r <= 0)
		return r;
	if ((r = config_check_keys(&table, CONFIG_NETWORK, err)) < 0 ||
	    (r = read_network_mode(&table, "mode", &ret->network, err)) < 0 ||
	    (r = read_rules(&table, "allow", &ret->allow, err)) < 0 ||
	    (r = read_rules(&table, "deny", &ret->deny, err)) < 0)
		return r;
	if ((r = toml_get_strings(&table, "dns", &ret->dns, err)) < 0 ||
	    (r = config_get_u32(&table, CONFIG_NETWORK, "rate_mib", &ret->rate_mib, err)) < 0)
		return r;
	return config_get_u32(&table, CONFIG_NETWORK, "rate_packets", &ret->rate_packets, err);
}

static int read_initrd(const struct toml_table *t, enum mvm_initrd *ret, struct mvm_error *err)
{
	int r = read_choice(t, "initrd", RUN_INITRD, err);
	if (r > 0)
		*ret = (enum mvm_initrd)r;
	return r;
}

static int read_snapshot(const struct toml_table *t, enum mvm_snapshot_point *ret,
			 struct mvm_error *err)
{
	struct toml_table table;

	int r = toml_get_table(t, "snapshot", &table, err);
	if (r <= 0)
		return r;
	r = config_check_keys(&table, CONFIG_SNAPSHOT, err);
	if (r == 0)
		r = read_choice(&table, "point", RUN_SNAPSHOT_POINT, err);
	if (r > 0)
		*ret = (enum mvm_snapshot_point)r;
	return r;
}

/* Read on_restore: an array is a command, a string is a restore_action. */
static int read_on_restore(const struct toml_table *t, struct mvm_run *run, struct mvm_error *err)
{
	const struct toml_value *v = toml_get(t->value, "on_restore");
	if (v && v->type == TOML_STRING)
		return toml_get_string(t, "on_restore", &run->restore_action, err);
	return toml_get_strings(t, "on_restore", &run->on_restore, err);
}

/* Read the settings that a config may have, for all variants, and that each variant may have. */
static int read_run(const struct toml_table *t, struct mvm_run *run, struct mvm_error *err)
{
	const char *key;
	int r;

	if ((r = toml_get_strings(t, "command", &run->command, err)) < 0 ||
	    (r = toml_get_pairs(t, "env", &run->env, err)) < 0 ||
	    (r = read_network(t, run, err)) < 0 || (r = read_initrd(t, &run->initrd, err)) < 0 ||
	    (r = toml_get_string(t, "kernel", &run->kernel, err)) < 0 ||
	    (r = toml_get_string(t, "boot_args", &run->boot_args, err)) < 0 ||
	    (r = read_on_restore(t, run, err)) < 0 ||
	    (r = read_snapshot(t, &run->snapshot_point, err)) < 0 ||
	    (r = read_health(t, &run->health, err)) < 0)
		return r;
	const char *problem = run_input_problem(run, &key);
	if (!problem)
		return 0;
	struct toml_table table;
	if (str_starts(key, "health.") && toml_get_table(t, "health", &table, err) > 0)
		return toml_key_error(&table, key + strlen("health."), err, "%s", problem);
	if (str_starts(key, "network.") && toml_get_table(t, "network", &table, err) > 0)
		return toml_key_error(&table, key + strlen("network."), err, "%s", problem);
	return toml_key_error(t, key, err, "%s", problem);
}

static int read_disk(const struct toml_table *t, const char *key, uint32_t least_mib, uint32_t *ret,
		     struct mvm_error *err)
{
	int r = config_get_u32(t, CONFIG_VARIANT, key, ret, err);
	if (r > 0 && *ret > 0 && *ret < least_mib)
		return toml_key_error(t, key, err, "%u is neither 0 nor at least %u",
				      (unsigned)*ret, (unsigned)least_mib);
	return r;
}

/* Read a name of a kind; an empty name counts as missing. */
static int read_name(const struct toml_table *t, const char *key, enum name_kind kind, char **ret,
		     struct mvm_error *err)
{
	AUTO_FREE char *name = NULL;
	int r = toml_get_string(t, key, &name, err);
	if (r <= 0 || !*name)
		return r < 0 ? r : 0;
	if (!name_valid(kind, name))
		return toml_key_error(t, key, err, "'%.80s': %s", name, name_rule(kind));
	free(*ret);
	*ret = TAKE_PTR(name);
	return 1;
}

/* Name a variant that has no name: <template_id>-<role>. */
static int compose_name(const struct toml_table *t, const struct mvm_template_config *config,
			struct mvm_template_variant *v, struct mvm_error *err)
{
	if (!config->template_id)
		return toml_key_error(t, "name", err,
				      "is missing, and without a template_id mvm cannot make one");
	v->name = str_printf("%s-%s", config->template_id, v->role);
	if (!v->name)
		return mvm_error_oom(err);
	if (!name_valid(NAME_TEMPLATE, v->name))
		return toml_key_error(
			t, "role", err,
			"'%s' makes the template name '%s-%s', which is not valid: %s", v->role,
			config->template_id, v->role, name_rule(NAME_TEMPLATE));
	return 0;
}

static int inherit(const struct toml_table *t, const struct mvm_template_config *config,
		   struct mvm_template_variant *v, struct mvm_error *err)
{
	bool failed = false;
	if (!v->profile)
		v->profile = str_dup(config->profile, &failed);
	if (failed || run_inherit(&v->run, &config->run) < 0)
		return mvm_error_oom(err);
	run_tidy(&v->run);
	const char *key, *problem = run_conflict(&v->run, &key);
	return problem ? toml_key_error(t, key, err, "%s", problem) : 0;
}

static int read_variant(const struct toml_table *t, const struct mvm_template_config *config,
			struct mvm_template_variant *v, struct mvm_error *err)
{
	uint32_t vcpus = MVM_DEFAULT_VCPUS;
	int r;

	v->mem_mib = MVM_DEFAULT_MEM_MIB;
	/* check keys first: an unknown key may be a misspelt one that is missing */
	if ((r = config_check_keys(t, CONFIG_VARIANT, err)) < 0 ||
	    (r = read_name(t, "name", NAME_TEMPLATE, &v->name, err)) < 0 ||
	    (r = toml_need(t, "role", err)) < 0 ||
	    (r = read_name(t, "role", NAME_ROLE, &v->role, err)) < 0)
		return r;
	if (!v->role)
		return toml_key_error(t, "role", err, "is empty");
	if ((r = read_name(t, "profile", NAME_PROFILE, &v->profile, err)) < 0 ||
	    (r = config_get_u32(t, CONFIG_VARIANT, "vcpus", &vcpus, err)) < 0 ||
	    (r = config_get_u32(t, CONFIG_VARIANT, "mem_mib", &v->mem_mib, err)) < 0 ||
	    (r = read_disk(t, "data_disk_mib", MVM_DATA_DISK_MIB_MIN, &v->data_disk_mib, err)) <
		    0 ||
	    (r = read_disk(t, "root_disk_mib", MVM_ROOT_DISK_MIB_MIN, &v->root_disk_mib, err)) <
		    0 ||
	    (r = read_run(t, &v->run, err)) < 0)
		return r;
	v->vcpus = (uint8_t)vcpus;
	if (!v->name && (r = compose_name(t, config, v, err)) < 0)
		return r;
	return inherit(t, config, v, err);
}

static int check_unique(const struct toml_table *t, const struct mvm_template_config *config,
			size_t index, struct mvm_error *err)
{
	for (size_t i = 0; i < index; i++) {
		if (strcmp(config->variants[i].name, config->variants[index].name) == 0)
			return toml_key_error(t, "name", err,
					      "'%s' is also the name of variants[%zu]",
					      config->variants[index].name, i);
	}
	return 0;
}

static int read_variants(const struct toml_table *root, struct mvm_template_config *config,
			 struct mvm_error *err)
{
	const struct toml_value *list = toml_get(root->value, "variants");
	if (!list || (list->type == TOML_ARRAY && list->n_children == 0))
		return toml_key_error(root, "variants", err,
				      "is missing: at least one [[variants]] is needed");
	if (list->type != TOML_ARRAY)
		return toml_key_error(root, "variants", err, "expected [[variants]], not %s",
				      toml_type_name(list->type));
	if (list->n_children > VARIANTS_MAX)
		return toml_key_error(root, "variants", err, "has more than %d items",
				      VARIANTS_MAX);
	config->variants = calloc(list->n_children, sizeof(*config->variants));
	if (!config->variants)
		return mvm_error_oom(err);

	for (size_t i = 0; i < list->n_children; i++) {
		struct toml_table t = { .source = root->source, .value = &list->children[i] };
		snprintf(t.path, sizeof(t.path), "variants[%zu].", i);
		if (t.value->type != TOML_TABLE)
			return toml_key_error(root, "variants", err,
					      "item %zu: expected a table, not %s", i,
					      toml_type_name(t.value->type));
		config->n_variants++;
		int r = read_variant(&t, config, &config->variants[i], err);
		if (r >= 0)
			r = check_unique(&t, config, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_flake_ref(const struct toml_table *t, const char *base_dir, char **ret,
			  struct mvm_error *err)
{
	AUTO_FREE char *ref = NULL;
	struct mvm_error why;

	int r = toml_need(t, "flake_ref", err);
	if (r >= 0)
		r = toml_get_string(t, "flake_ref", &ref, err);
	if (r < 0)
		return r;
	r = flake_ref_absolute(ref, base_dir, ret, &why);
	if (r == -EINVAL)
		return toml_key_error(t, "flake_ref", err, "%s", why.text);
	return r < 0 ? mvm_error_oom(err) : 0;
}

static int read_config(const struct toml_table *t, const char *base_dir,
		       struct mvm_template_config *config, struct mvm_error *err)
{
	bool failed = false;
	int r;

	if ((r = config_check_keys(t, CONFIG_TOP, err)) < 0 ||
	    (r = read_name(t, "template_id", NAME_TEMPLATE, &config->template_id, err)) < 0 ||
	    (r = read_flake_ref(t, base_dir, &config->flake_ref, err)) < 0 ||
	    (r = read_name(t, "profile", NAME_PROFILE, &config->profile, err)) < 0 ||
	    (r = read_run(t, &config->run, err)) < 0)
		return r;
	if (!config->profile)
		config->profile = str_dup(MVM_DEFAULT_PROFILE, &failed);
	if (failed)
		return mvm_error_oom(err);
	r = read_variants(t, config, err);
	if (r < 0)
		return r;
	run_tidy(&config->run);
	return 0;
}

int config_parse(const char *text, size_t len, const char *name, const char *base_dir,
		 unsigned flags, struct mvm_template_config *ret, struct mvm_strings *ret_warnings,
		 struct mvm_error *err)
{
	AUTO(toml_value) root = NULL;

	if (ret_warnings)
		*ret_warnings = (struct mvm_strings){ 0 };
	int r = toml_parse(text, len, name, &root, err);
	if (r < 0)
		return r;

	AUTO_DONE(mvm_template_config) config = { 0 };
	struct toml_source source = {
		.name = name,
		.strict = flags & MVM_TEMPLATE_CONFIG_STRICT,
	};
	struct toml_table table = { .source = &source, .value = root };
	root->line = 0; /* an error about a key that the root table lacks names no line */
	r = read_config(&table, base_dir, &config, err);
	if (ret_warnings && strings_take(&source.warnings, ret_warnings) < 0 && r >= 0)
		r = mvm_error_oom(err);
	strv_done(&source.warnings);
	if (r < 0)
		return r;

	*ret = config;
	config = (struct mvm_template_config){ 0 };
	return 0;
}

/* The absolute path, without links, of the folder that holds a file.  NULL with errno. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	return folder ? realpath(folder, NULL) : NULL;
}

int config_load(const char *path, unsigned flags, struct mvm_template_config *ret,
		struct mvm_strings *ret_warnings, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	if (ret_warnings)
		*ret_warnings = (struct mvm_strings){ 0 };
	int r = file_read_at(AT_FDCWD, path, TOML_MAX_BYTES, &text, &len);
	if (r == -EFBIG)
		return mvm_error_set(err, r, "%s: larger than 10 MB", path);
	if (r == -EINVAL)
		return mvm_error_set(err, r, "%s: not a regular file", path);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	AUTO_FREE char *folder = folder_of(path);
	if (!folder) {
		r = -errno;
		return mvm_error_set(err, r, "cannot find the folder of '%s': %s", path,
				     strerror(-r));
	}
	return config_parse(text, len, path, folder, flags, ret, ret_warnings, err);
}
