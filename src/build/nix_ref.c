/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_ref.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

void nix_ref_done(struct nix_ref *r)
{
	free(r->flake);
	free(r->arg);
	free(r->path);
	free(r->git);
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

/* Add the first len bytes of text, with each %XX of a URL decoded. */
static void add_decoded(struct strbuf *b, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = s[i] == '%' && i + 2 < len ? hex_value(s[i + 1]) : -1;
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

#define GIT_SCHEME  "git+file:"
#define PATH_SCHEME "path:"

/* The path in a reference to this machine's files, or NULL. */
static const char *local_path(const char *flake)
{
	static const char *const starts[] = { PATH_SCHEME, GIT_SCHEME "//", GIT_SCHEME };

	for (size_t i = 0; i < MVM_ARRAY_SIZE(starts); i++) {
		if (str_starts(flake, starts[i]))
			return flake + strlen(starts[i]);
	}
	return flake[0] == '/' ? flake : NULL;
}

/* Does every version of Nix read a path literally, both as a path and in a URL? */
static bool is_plain(const char *path)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~/+=,";
	return !path[strspn(path, plain)];
}

/* The part after the path: "?dir=..." or "". */
static const char *query_of(const struct nix_ref *r)
{
	return r->flake + strcspn(r->flake, "?");
}

/* Make the URL of a git repository at root with the flake in its folder dir. */
static char *git_url(const char *root, const char *dir, const char *query)
{
	AUTO_DONE(strbuf) b = { 0 };

	strbuf_adds(&b, GIT_SCHEME "//");
	strbuf_add_url_path(&b, root, strlen(root), false);
	strbuf_adds(&b, query);
	if (*dir) {
		strbuf_adds(&b, *query ? "&dir=" : "?dir=");
		strbuf_add_url_path(&b, dir, strlen(dir), false);
	}
	return strbuf_take(&b);
}

static int find_folder(struct nix_ref *r, struct mvm_error *err)
{
	AUTO_DONE(strbuf) decoded = { 0 };
	AUTO_DONE(strbuf) folder = { 0 };
	const char *query = query_of(r), *path = local_path(r->flake);
	size_t dir_len = 0;

	r->by_name = true;
	if (!path) {
		r->arg = strdup(r->flake);
		return r->arg ? 0 : mvm_error_oom(err);
	}
	if (path[0] != '/')
		return mvm_error_set(err, -EINVAL, "flake_ref '%s': the path is not absolute",
				     r->flake);
	add_decoded(&decoded, path, (size_t)(query - path));
	r->path = strbuf_take(&decoded);
	if (!r->path)
		return mvm_error_oom(err);
	strbuf_adds(&folder, r->path);
	const char *dir = *query ? query_dir(query + 1, &dir_len) : NULL;
	if (dir) {
		strbuf_adds(&folder, "/");
		add_decoded(&folder, dir, dir_len);
	}
	r->folder = strbuf_take(&folder);
	if (str_starts(r->flake, GIT_SCHEME)) {
		r->arg = git_url(r->path, "", query);
		if (!is_plain(r->path) && !(r->git = strdup(r->path)))
			return mvm_error_oom(err);
	} else {
		r->by_name = is_plain(r->path);
		r->arg = str_printf("%s%s%s", *r->flake == '/' ? "" : PATH_SCHEME, r->path, query);
	}
	return r->folder && r->arg ? 0 : mvm_error_oom(err);
}

/* The length of the path to the repository that holds a folder; 0: none does. */
static size_t git_root(const char *path)
{
	for (size_t len = strlen(path); len > 0;) {
		AUTO_FREE char *git = str_printf("%.*s/.git", (int)len, path);
		if (git && access(git, F_OK) == 0)
			return len;
		while (len > 0 && path[--len] != '/')
			;
	}
	return 0;
}

int nix_ref_locate(struct nix_ref *r, int *ret_cwd_fd, struct mvm_error *err)
{
	if (r->by_name)
		return 0;
	bool is_path = str_starts(r->flake, PATH_SCHEME);
	size_t root_len = is_path ? 0 : git_root(r->path);
	AUTO_FREE char *root = strndup(r->path, root_len);
	if (!root)
		return mvm_error_oom(err);
	const char *below = r->path + root_len;
	const char *query = is_path ? query_of(r) : "";
	AUTO_FREE char *arg = root_len ? git_url(root, below + strspn(below, "/"), query_of(r))
				       : str_printf(PATH_SCHEME ".%s", query);
	if (!arg)
		return mvm_error_oom(err);
	if (!root_len) {
		const char *folder = is_path ? r->path : r->folder;
		int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return mvm_error_set(err, -errno, "cannot open the flake's folder '%s': %s",
					     folder, strerror(errno));
		*ret_cwd_fd = fd;
	}
	free(r->arg);
	r->arg = TAKE_PTR(arg);
	if (root_len)
		r->git = TAKE_PTR(root);
	return 0;
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
	uname(&host); /* fails only for a bad pointer */
	snprintf(ret, NIX_SYSTEM_SIZE, "%s-linux", host.machine);
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
		return str_printf("%s#packages.%s", r->arg, system);
	/* in quotes, because roles and profiles may have dots */
	return str_printf("%s#packages.%s.\"%s\"", r->arg, system, name);
}
