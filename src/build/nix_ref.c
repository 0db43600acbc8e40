/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_ref.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

void nix_ref_done(struct nix_ref *r)
{
	free(r->flake);
	free(r->attribute);
	free(r->folder);
	*r = (struct nix_ref){ 0 };
}

static int hex_value(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)((at - digits) % 16) : -1;
}

/* Add text up to len, with %XX of a URL as the byte it stands for. */
static void add_decoded(struct strbuf *b, const char *s, size_t len, bool url)
{
	for (size_t i = 0; i < len; i++) {
		int high = url && s[i] == '%' && i + 2 < len ? hex_value(s[i + 1]) : -1;
		int low = high >= 0 ? hex_value(s[i + 2]) : -1;
		char c = s[i];
		if (low >= 0 && high + low > 0) {
			c = (char)(high * 16 + low);
			i += 2;
		}
		strbuf_add(b, &c, 1);
	}
}

/* The value of "dir" in the query, or NULL. */
static const char *query_dir(const char *query, size_t *ret_len)
{
	while (*query) {
		size_t len = strcspn(query, "&");
		if (str_starts(query, "dir=")) {
			*ret_len = len - strlen("dir=");
			return query + strlen("dir=");
		}
		query += len + (query[len] == '&');
	}
	return NULL;
}

/* The path in a reference to this machine's files, or NULL. */
static const char *local_path(const char *flake, bool *ret_url)
{
	static const char *const schemes[] = { "path:", "git+file://", "git+file:" };

	*ret_url = flake[0] != '/';
	for (size_t i = 0; *ret_url && i < MVM_ARRAY_SIZE(schemes); i++) {
		if (str_starts(flake, schemes[i]))
			return flake + strlen(schemes[i]);
	}
	return *ret_url ? NULL : flake;
}

static int find_folder(struct nix_ref *r, struct mvm_error *err)
{
	AUTO_DONE(strbuf) folder = { 0 };
	size_t dir_len = 0;
	bool url;
	const char *path = local_path(r->flake, &url);

	if (!path)
		return 0;
	if (path[0] != '/')
		return mvm_error_set(err, -EINVAL, "flake_ref '%s': the path is not absolute",
				     r->flake);
	size_t len = strcspn(path, "?");
	add_decoded(&folder, path, len, url);
	const char *dir = path[len] ? query_dir(path + len + 1, &dir_len) : NULL;
	if (dir) {
		strbuf_adds(&folder, "/");
		add_decoded(&folder, dir, dir_len, true);
	}
	r->folder = strbuf_take(&folder);
	return r->folder ? 0 : mvm_error_oom(err);
}

int nix_ref_parse(const char *flake_ref, struct nix_ref *ret, struct mvm_error *err)
{
	AUTO_DONE(nix_ref) r = { 0 };
	size_t len = strcspn(flake_ref, "#");

	if (flake_ref[0] == '-' || len == 0)
		return mvm_error_set(err, -EINVAL, "flake_ref '%s' is no flake reference",
				     flake_ref);
	r.flake = strndup(flake_ref, len);
	if (flake_ref[len] && flake_ref[len + 1])
		r.attribute = strdup(flake_ref + len + 1);
	if (!r.flake || (flake_ref[len] && flake_ref[len + 1] && !r.attribute))
		return mvm_error_oom(err);
	int code = find_folder(&r, err);
	if (code < 0)
		return code;
	*ret = r;
	r = (struct nix_ref){ 0 };
	return 0;
}

void nix_system(char ret[NIX_SYSTEM_SIZE])
{
	struct utsname host;
	(void)uname(&host); /* fails only for a bad pointer */
	(void)snprintf(ret, NIX_SYSTEM_SIZE, "%s-linux", host.machine);
}

static void add_once(struct strv *l, const char *prefix, const char *a, const char *b)
{
	AUTO_FREE char *name = str_printf("%s%s%s%s", prefix, a, b ? "-" : "", b ? b : "");
	if (!name)
		l->failed = true;
	else if (!strv_has(l, name))
		strv_add(l, name);
}

void nix_candidates(const char *role, const char *profile, struct strv *ret)
{
	add_once(ret, "tenant-", role, profile);
	add_once(ret, "", role, profile);
	add_once(ret, "tenant-", profile, NULL);
	add_once(ret, "tenant-", role, NULL);
	add_once(ret, "", profile, NULL);
	add_once(ret, "", role, NULL);
	if (strcmp(profile, "minimal") == 0 || strcmp(profile, "default") == 0)
		add_once(ret, "", "default", NULL);
}

const char *nix_choose(const struct strv *candidates, const struct strv *names)
{
	for (size_t i = 0; i < candidates->n; i++) {
		if (strv_has(names, candidates->v[i]))
			return candidates->v[i];
	}
	return NULL;
}

char *nix_installable(const struct nix_ref *r, const char *system, const char *name)
{
	if (!name)
		return str_printf("%s#packages.%s", r->flake, system);
	/* in quotes, because roles and profiles may have dots */
	return str_printf("%s#packages.%s.\"%s\"", r->flake, system, name);
}
