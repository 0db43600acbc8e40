/* SPDX-License-Identifier: Apache-2.0 */
#include "pull/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "model/image_ref.h"

#define HUB_SERVER    "https://index." IMAGE_REF_HUB "/v1/"
#define PROGRAM_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define PROGRAM_MAX   64u

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void credentials_done(struct credentials *c)
{
	wipe(c->password);
	wipe(c->identity);
	wipe(c->bearer);
	free(c->user);
	free(c->from);
	*c = (struct credentials){ 0 };
}

const char *credentials_server(const char *host)
{
	return str_eq(host, IMAGE_REF_HUB) ? HUB_SERVER : host;
}

/* How well does a key of auths fit? 0: not at all; else the length of the part that fits. */
static size_t fit_of(const char *key, const char *host, const char *path)
{
	AUTO_FREE char *whole = str_printf("%s/%s", host, path);

	if (str_eq(host, IMAGE_REF_HUB) &&
	    (str_eq(key, HUB_SERVER) || str_eq(key, "index." IMAGE_REF_HUB) ||
	     str_eq(key, "registry-1." IMAGE_REF_HUB)))
		return strlen(host);
	if (!whole)
		return 0;
	for (const char *const *scheme = (const char *const[]){ "https://", "http://", NULL };
	     *scheme; scheme++) {
		if (str_starts(key, *scheme))
			key += strlen(*scheme);
	}
	size_t len = strlen(key);
	if (len > 3 && (str_eq(key + len - 3, "/v1") || str_eq(key + len - 3, "/v2")))
		len -= 3; /* docker's keys may be URLs */
	else if (len > 4 && (str_eq(key + len - 4, "/v1/") || str_eq(key + len - 4, "/v2/")))
		len -= 4;
	while (len > 0 && key[len - 1] == '/')
		len--;
	bool fits = len >= strlen(host) && strncmp(whole, key, len) == 0 &&
		    (whole[len] == '/' || !whole[len]);
	return fits ? len : 0;
}

/* Split base64 of "USER:PASSWORD". */
static int take_basic(const char *coded, struct credentials *ret)
{
	AUTO_FREE uint8_t *data = NULL;
	size_t len;

	int r = base64_bytes(coded, strlen(coded), &data, &len);
	if (r < 0)
		return r;
	char *plain = (char *)data;
	if (memchr(plain, '\0', len))
		return -EINVAL;
	char *colon = strchr(plain, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	ret->user = strdup(plain);
	ret->password = strdup(colon + 1);
	explicit_bzero(plain, len);
	return ret->user && ret->password ? 0 : -ENOMEM;
}

/* Read one entry of auths.  1: it has credentials; 0: it is empty, as with a credsStore. */
static int read_entry(const struct json_at *at, struct credentials *ret, struct mvm_error *err)
{
	AUTO_FREE char *coded = NULL;
	int r;

	if ((r = json_get_string(at, "identitytoken", JSON_NULLABLE, &ret->identity, err)) < 0 ||
	    (r = json_get_string(at, "registrytoken", JSON_NULLABLE, &ret->bearer, err)) < 0 ||
	    (r = json_get_string(at, "auth", JSON_NULLABLE, &coded, err)) < 0)
		return r;
	if (!str_empty(coded)) {
		r = take_basic(coded, ret);
		if (r == -EINVAL)
			return json_error(at, "auth", err, "is no USER:PASSWORD in base64");
		if (r < 0)
			return mvm_error_oom(err);
	}
	return ret->user || !str_empty(ret->identity) || !str_empty(ret->bearer);
}

static int read_auths(const struct json_at *root, const char *host, const char *path,
		      struct credentials *ret, struct mvm_error *err)
{
	struct json_at auths, entry;
	const char *key, *best = NULL;
	size_t best_fit = 0;
	json_t *value;

	int r = json_get_object(root, "auths", JSON_NULLABLE, &auths, err);
	if (r <= 0)
		return r;
	json_object_foreach(auths.value, key, value)
	{
		size_t fit = fit_of(key, host, path);
		if (fit > best_fit) {
			best = key;
			best_fit = fit;
		}
	}
	if (!best)
		return 0;
	r = json_get_object(&auths, best, JSON_REQUIRED, &entry, err);
	return r < 0 ? r : read_entry(&entry, ret, err);
}

bool credentials_is_key(const char *key, const char *host)
{
	return fit_of(key, host, "") == strlen(host);
}

int credentials_program(const struct json_at *root, const char *host, char **ret,
			struct mvm_error *err)
{
	struct json_at helpers;

	int r = json_get_object(root, "credHelpers", JSON_NULLABLE, &helpers, err);
	if (r > 0) {
		r = json_get_string(&helpers, credentials_server(host), JSON_NULLABLE, ret, err);
		if (r == 0)
			r = json_get_string(&helpers, host, JSON_NULLABLE, ret, err);
	}
	if (r == 0)
		r = json_get_string(root, "credsStore", JSON_NULLABLE, ret, err);
	if (r < 0)
		return r;
	if (*ret && !**ret)
		free(TAKE_PTR(*ret));
	if (*ret && ((*ret)[strspn(*ret, PROGRAM_CHARS)] || strlen(*ret) > PROGRAM_MAX))
		return json_error(root, NULL, err, "'%.80s' is no name of a credential helper",
				  *ret);
	return 0;
}

int credentials_parse(const char *text, size_t len, const char *name, const char *host,
		      const char *path, struct credentials *ret, char **ret_program,
		      struct mvm_error *err)
{
	AUTO_DONE(credentials) c = { 0 };
	AUTO_FREE char *program = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;

	int r = json_read_object(text, len, name, &doc, &root, err);
	if (r < 0)
		return r;
	r = credentials_program(&root, host, &program, err);
	if (r == 0)
		r = read_auths(&root, host, path, &c, err);
	if (r > 0) {
		c.from = strdup(name);
		if (!c.from)
			return mvm_error_oom(err);
		*ret = c;
		c = (struct credentials){ 0 };
	}
	if (r >= 0)
		*ret_program = TAKE_PTR(program);
	return r < 0 ? r : 0;
}

static int look_into(const char *file, const char *host, const char *path,
		     const struct mvm_progress *progress, struct credentials *ret,
		     struct mvm_error *err)
{
	AUTO_DONE(credentials) c = { 0 };
	AUTO_FREE char *text = NULL, *program = NULL;
	size_t len;

	int r = file_read_at(AT_FDCWD, file, CREDENTIALS_FILE_MAX, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", file, strerror(-r));
	r = credentials_parse(text, len, file, host, path, &c, &program, err);
	explicit_bzero(text, len);
	if (r == 0 && program) {
		AUTO_DONE(credentials) asked = { 0 };
		r = credential_program_ask(program, host, progress, &asked, err);
		if (r > 0) {
			credentials_done(&c);
			c = asked;
			asked = (struct credentials){ 0 };
			c.from = strdup(file);
			if (!c.from)
				return mvm_error_oom(err);
		}
	}
	if (r < 0 || !c.from)
		return r;
	*ret = c;
	c = (struct credentials){ 0 };
	return 1;
}

int credentials_files(struct strv *ret)
{
	const char *home = getenv("HOME"), *docker = getenv("DOCKER_CONFIG");
	const char *auth_file = getenv("REGISTRY_AUTH_FILE"), *run = getenv("XDG_RUNTIME_DIR");
	const char *config = getenv("XDG_CONFIG_HOME");

	if (!str_empty(auth_file))
		strv_add(ret, auth_file);
	if (!str_empty(docker))
		strv_addf(ret, "%s/config.json", docker);
	else if (!str_empty(home))
		strv_addf(ret, "%s/.docker/config.json", home);
	if (!str_empty(run))
		strv_addf(ret, "%s/containers/auth.json", run);
	else /* where podman and skopeo write without such a folder */
		strv_addf(ret, "/run/containers/%u/auth.json", (unsigned)getuid());
	if (!str_empty(config))
		strv_addf(ret, "%s/containers/auth.json", config);
	else if (!str_empty(home))
		strv_addf(ret, "%s/.config/containers/auth.json", home);
	return ret->failed ? -ENOMEM : 0;
}

int credentials_find(const char *host, const char *path, const struct mvm_progress *progress,
		     struct credentials *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) files = { 0 };

	if (credentials_files(&files) < 0)
		return mvm_error_oom(err);
	for (size_t i = 0; i < files.n; i++) {
		int r = look_into(files.v[i], host, path, progress, ret, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return 0;
}
