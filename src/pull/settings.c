/* SPDX-License-Identifier: Apache-2.0 */
#include "pull/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "model/image_ref.h"
#include "model/toml_read.h"
#include "store/keys.h"

#define SYSTEM_FILE "/etc/mvm/" SETTINGS_NAME
#define FILE_MAX    ((size_t)1 << 20)

void settings_done(struct settings *s)
{
	free(s->ca);
	mvm_strings_done(&s->mirrors);
	mvm_strings_done(&s->signed_only);
	*s = (struct settings){ 0 };
}

/* A mirror is a host: try it as the host of a reference. */
static bool is_host(const char *host)
{
	AUTO_DONE(image_ref) ref = { 0 };
	AUTO_FREE char *text = str_printf("%s/x/x", host);

	return text && !strpbrk(host, "/@") && image_ref_parse(text, &ref, NULL) == 0 &&
	       str_eq(ref.host, host);
}

/* The pattern of a host's repositories, as keys have them. */
static bool make_scope(const char *host, const char *pattern, struct key_info *ret)
{
	int n = snprintf(ret->scope, sizeof(ret->scope), "%s/%s", host, pattern);
	return n > 0 && (size_t)n < sizeof(ret->scope) && key_scope_check(ret->scope, NULL) == 0;
}

static int check_signed(const struct toml_table *t, const char *host, const struct settings *s,
			struct mvm_error *err)
{
	struct key_info scope = { 0 };

	if (s->signed_only.n > SETTINGS_SIGNED_MAX)
		return toml_key_error(t, "signed", err, "has more than %u", SETTINGS_SIGNED_MAX);
	for (size_t i = 0; i < s->signed_only.n; i++) {
		if (!make_scope(host, s->signed_only.v[i], &scope))
			return toml_key_error(t, "signed", err,
					      "no repository has a name like '%.200s': write "
					      "team/*, or ** for all",
					      s->signed_only.v[i]);
	}
	return 0;
}

bool settings_want_signature(const struct settings *s, const char *host, const char *path)
{
	AUTO_FREE char *name = str_printf("%s/%s", host, path);
	struct key_info scope = { 0 };

	for (size_t i = 0; name && i < s->signed_only.n; i++) {
		if (make_scope(host, s->signed_only.v[i], &scope) && key_covers(&scope, name))
			return true;
	}
	return !name;
}

static int read_table(const struct toml_table *t, const char *host, struct settings *ret,
		      struct mvm_error *err)
{
	static const char *const known[] = { "insecure", "ca", "mirrors", "signed" };
	int r;

	ret->insecure = false;
	if ((r = toml_check_keys(t, known, MVM_ARRAY_SIZE(known), err)) < 0 ||
	    (r = toml_get_bool(t, "insecure", &ret->insecure, err)) < 0 ||
	    (r = toml_get_string(t, "ca", &ret->ca, err)) < 0 ||
	    (r = toml_get_strings(t, "mirrors", &ret->mirrors, err)) < 0 ||
	    (r = toml_get_strings(t, "signed", &ret->signed_only, err)) < 0 ||
	    (r = check_signed(t, host, ret, err)) < 0)
		return r;
	if (ret->ca && ret->ca[0] != '/')
		return toml_key_error(t, "ca", err, "'%.200s' is no absolute path", ret->ca);
	if (ret->mirrors.n > SETTINGS_MIRRORS_MAX)
		return toml_key_error(t, "mirrors", err, "has more than %u", SETTINGS_MIRRORS_MAX);
	for (size_t i = 0; i < ret->mirrors.n; i++) {
		if (!is_host(ret->mirrors.v[i]))
			return toml_key_error(t, "mirrors", err,
					      "'%.200s' is no host: write HOST or HOST:PORT, in "
					      "lower case",
					      ret->mirrors.v[i]);
	}
	return 0;
}

int settings_parse(const char *text, size_t len, const char *name, const char *host,
		   struct settings *ret, bool *ret_found, struct mvm_error *err)
{
	static const char *const top[] = { "registry" };
	struct toml_source source = { .name = name, .strict = true };
	AUTO_DONE(settings) s = { 0 };
	AUTO(toml_value) root = NULL;
	struct toml_table registries, one;

	*ret_found = false;
	int r = toml_parse(text, len, name, &root, err);
	if (r < 0)
		return r;
	const struct toml_table table = { .source = &source, .value = root };
	r = toml_check_keys(&table, top, MVM_ARRAY_SIZE(top), err);
	if (r == 0)
		r = toml_get_table(&table, "registry", &registries, err);
	if (r > 0)
		r = toml_get_table(&registries, host, &one, err);
	if (r <= 0)
		return r;
	r = read_table(&one, host, &s, err);
	if (r < 0)
		return r;
	*ret_found = true;
	settings_done(ret);
	*ret = s;
	s = (struct settings){ 0 };
	return 0;
}

static int load_file(const char *path, const char *host, struct settings *ret, bool *ret_found,
		     struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	*ret_found = false;
	int r = file_read_at(AT_FDCWD, path, FILE_MAX, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r));
	return settings_parse(text, len, path, host, ret, ret_found, err);
}

int settings_load(const char *data_dir, const char *host, struct settings *ret,
		  struct mvm_error *err)
{
	AUTO_DONE(settings) s = { .insecure = image_ref_is_loopback(host) };
	AUTO_FREE char *own = str_printf("%s/" SETTINGS_NAME, data_dir);
	bool found = false;

	if (!own)
		return mvm_error_oom(err);
	int r = load_file(own, host, &s, &found, err);
	if (r == 0 && !found)
		r = load_file(SYSTEM_FILE, host, &s, &found, err);
	if (r < 0)
		return r;
	*ret = s;
	s = (struct settings){ 0 };
	return 0;
}
