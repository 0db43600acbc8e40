/* SPDX-License-Identifier: Apache-2.0 */
/* login, logout */
#include <mvm/registry.h>
#include <stdio.h>
#include <string.h>

#include "confirm.h"
#include "handles.h"
#include "json.h"
#include "options.h"
#include "out.h"
#include "password.h"
#include "progress.h"

DEFINE_AUTO(mvm_login_info, mvm_login_info_free)

static int print_login(struct cli_context *c, const struct mvm_login_info *l)
{
	AUTO_DONE(jsonw) j = { 0 };

	if (!l->checked)
		note(c, "the registry asks nobody for a password, so this one was not checked");
	if (!c->json) {
		printf("%s  logged in as %s, kept in %s\n", l->host, l->user,
		       l->program ? l->program : l->file);
		return 0;
	}
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "registry", l->host);
	jsonw_string(&j, "user", l->user);
	jsonw_string(&j, "file", l->file);
	jsonw_string(&j, "program", l->program);
	jsonw_bool(&j, "checked", l->checked);
	jsonw_close(&j);
	return jsonw_print(&j, stdout);
}

/* Take the user from the command line or a terminal, and the password from standard input. */
static int take_user(struct cli_context *c, const struct args *a, char **ret_user,
		     char **ret_password)
{
	const char *user = args_string(a, "user");
	bool piped = args_flag(a, "password-stdin");

	if (piped && !user)
		return cli_usage(c, "--password-stdin needs --user");
	if (!piped && !can_ask())
		return cli_usage(c, "there is no terminal to ask on: give --user and "
				    "--password-stdin");
	if (user)
		*ret_user = strdup(user);
	int r = user ? 0 : password_read(c, "user name", false, ret_user);
	if (r == 0 && !*ret_user)
		return -ENOMEM;
	return r < 0 ? r : password_read(c, "password", true, ret_password);
}

static int login(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_login_info) info = NULL;
	AUTO_FREE char *user = NULL;
	AUTO_PASSWORD char *password = NULL;

	int r = take_user(c, a, &user, &password);
	if (r >= 0)
		r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r >= 0)
		r = mvm_registry_login(mvm, args_at(a, 0), user, password, &c->progress, &info,
				       &c->err);
	return r < 0 ? r : print_login(c, info);
}

static int logout(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO_DONE(jsonw) j = { 0 };
	struct mvm_strings files = { 0 };

	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_registry_logout(mvm, args_at(a, 0), &c->progress, &files, &c->err);
	if (r < 0)
		return r;
	jsonw_open(&j, NULL, '{');
	jsonw_string(&j, "registry", args_at(a, 0));
	jsonw_open(&j, "files", '[');
	for (size_t i = 0; i < files.n; i++) {
		jsonw_string(&j, NULL, files.v[i]);
		if (!c->json)
			printf("%s  logged out, removed from %s\n", args_at(a, 0), files.v[i]);
	}
	jsonw_close(&j);
	jsonw_close(&j);
	mvm_strings_done(&files);
	return c->json ? jsonw_print(&j, stdout) : 0;
}

static const struct option login_options[] = {
	{ .name = "user",
	  .letter = 'u',
	  .kind = OPTION_STRING,
	  .value = "USER",
	  .help = "the user's name (default: asks for it)" },
	{ .name = "password-stdin",
	  .kind = OPTION_FLAG,
	  .help = "read the password from standard input instead of asking" },
	OPTION_JSON,
	{ 0 },
};

static const struct option json_options[] = { OPTION_JSON, { 0 } };

const struct command command_login = {
	.path = "login",
	.summary = "Log in at a registry",
	.details = "The registry is asked whether it takes the password before that is kept. The "
		   "login goes where docker's are: to $REGISTRY_AUTH_FILE if that is set, else to "
		   "docker's config.json, or to the credential helper that the file names. So "
		   "docker, podman and skopeo have it too.",
	.examples = "mvm login reg.example:5000\n"
		    "mvm login docker.io -u me --password-stdin < token",
	.positionals = { { .name = "REGISTRY", .help = "HOST[:PORT]", .hint = VALUE_REGISTRY } },
	.options = login_options,
	.run = login,
};

const struct command command_logout = {
	.path = "logout",
	.summary = "Forget the logins at a registry",
	.details = "They are removed from every file that mvm reads, docker's and podman's, and "
		   "from their credential helpers. Logins for a part of a registry, which podman "
		   "has, stay.",
	.positionals = { { .name = "REGISTRY", .help = "HOST[:PORT]", .hint = VALUE_REGISTRY } },
	.options = json_options,
	.run = logout,
};
