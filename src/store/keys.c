/* SPDX-License-Identifier: Apache-2.0 */
#include "store/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/name.h"
#include "store/store_priv.h"

#define FILE_MAX   ((size_t)16384)
#define SECRET_END ".pem"
#define PUBLIC_END ".pub"
#define KEY_BEGIN  "-----BEGIN "

void key_list_done(struct key_list *l)
{
	free(l->v);
	*l = (struct key_list){ 0 };
}

static void file_name(const char *name, const char *end, char ret[KEY_NAME_SIZE + 8])
{
	snprintf(ret, KEY_NAME_SIZE + 8, "%s%s", name, end);
}

static void describe(const char *name, const struct public_key *pub, struct key_info *ret)
{
	struct mvm_digest print;

	*ret = (struct key_info){ 0 };
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	ret->pub = *pub;
	key_fingerprint(pub, &print);
	digest_hex(&print, ret->fingerprint);
}

/* Is this a public key's file?  Whatever stands before the key. */
static bool holds_public(int dir, const char *file, struct public_key *ret)
{
	AUTO_FREE char *text = NULL;
	return file_read_at(dir, file, FILE_MAX, &text, NULL) == 0 &&
	       key_parse_public(text, ret) == 0;
}

static int in_the_way(const char *folder, const char *file, const char *why, struct mvm_error *err)
{
	int r = mvm_error_set(err, -EEXIST, "'%s/%s' in the data folder is in the way: %s", folder,
			      file, why);
	return mvm_error_hint(err, r, "move it to another place, then run the command again");
}

static int put_new(struct store *s, int dir, const char *name, const char *text, mode_t mode)
{
	int scratch = store_scratch(s, NULL);
	return scratch < 0 ? scratch : file_place_at(scratch, dir, name, text, strlen(text), mode);
}

/* Another process may have put it there meanwhile (mend_pair()). */
static int put_public(struct store *s, int dir, const char *file, const struct public_key *pub)
{
	char pem[KEY_PEM_SIZE];
	struct public_key old;

	key_public_pem(pub, pem);
	int r = put_new(s, dir, file, pem, 0644);
	return r == -EEXIST && holds_public(dir, file, &old) && memcmp(&old, pub, sizeof(old)) == 0
		       ? 0
		       : r;
}

static int not_stored(const struct store *s, const char *name, int code, struct mvm_error *err)
{
	mvm_error_set(err, code, "cannot store the key '%s': %s", name, strerror(-code));
	return store_mend(s, code, err);
}

/* A crash between the two files of a pair leaves the secret one, which tells the other. */
static void mend_pair(struct store *s, int dir, const char *name)
{
	char file[KEY_NAME_SIZE + 8];
	struct key_pair key;

	file_name(name, PUBLIC_END, file);
	if (faccessat(dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    keys_load(s, name, &key, NULL) < 0)
		return;
	put_public(s, dir, file, &key.pub); /* if this fails, the next try may not */
	explicit_bzero(&key, sizeof(key));
}

/* Remove a pair that could not be stored: its public key may be in place, if only the sync of the
 * folder has failed. */
static void drop_pair(int dir, const char *file, const char *public, const struct public_key *pub)
{
	struct public_key there;

	unlinkat(dir, file, 0); /* a failure leaves a key that works: see mend_pair() */
	if (holds_public(dir, public, &there) && memcmp(&there, pub, sizeof(there)) == 0)
		unlinkat(dir, public, 0);
}

int keys_generate(struct store *s, const char *name, enum key_type type, struct key_info *ret,
		  struct mvm_error *err)
{
	char file[KEY_NAME_SIZE + 8], public[KEY_NAME_SIZE + 8], pem[KEY_PEM_SIZE];
	struct key_pair key;

	int r = name_check(NAME_KEY, name, err);
	int dir = r < 0 ? r : store_dir_get(s, STORE_KEYS, err);
	if (dir < 0)
		return dir;
	key_generate(type, &key);
	key_secret_pem(&key, pem);
	file_name(name, SECRET_END, file);
	r = put_new(s, dir, file, pem, 0600);
	explicit_bzero(pem, sizeof(pem));
	explicit_bzero(key.secret, sizeof(key.secret));
	if (r == -EEXIST) {
		mend_pair(s, dir, name);
		return mvm_error_set(err, r, "there is a key '%s' already", name);
	}
	if (r == 0) {
		file_name(name, PUBLIC_END, public);
		r = put_public(s, dir, public, &key.pub);
		if (r < 0)
			drop_pair(dir, file, public, &key.pub);
	}
	if (r == -EEXIST)
		return in_the_way("keys", public, "its secret key is missing", err);
	if (r < 0)
		return not_stored(s, name, r, err);
	describe(name, &key.pub, ret);
	return 0;
}

static int no_key(const char *name, int code, struct mvm_error *err)
{
	int r = mvm_error_set(err, code, "there is no key '%.80s'", name);
	return mvm_error_reason(err, r, "no-key", name);
}

int keys_load(struct store *s, const char *name, struct key_pair *ret, struct mvm_error *err)
{
	char file[KEY_NAME_SIZE + 8];
	struct stat st;

	int r = name_check(NAME_KEY, name, err);
	if (r < 0)
		return r;
	file_name(name, SECRET_END, file);
	int dir = store_dir(s, STORE_KEYS);
	AUTO_CLOSE int fd = dir < 0 ? dir : openat(dir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return no_key(name, dir < 0 ? dir : -errno, err);
	if (st.st_mode & (S_IRWXG | S_IRWXO) || st.st_uid != geteuid())
		return mvm_error_set(err, -EPERM, "others may read the key '%s'", name);
	char *text = NULL;
	r = file_read_fd(fd, FILE_MAX, &text, NULL);
	if (r == 0) {
		r = key_parse_secret(text, ret);
		explicit_bzero(text, strlen(text));
	}
	free(text);
	return r < 0 ? mvm_error_set(err, r == -EINVAL ? -EBADMSG : r,
				     "cannot read the key '%s' as one of Ed25519 or P-256", name)
		     : 0;
}

/* Take the part in front of the next slash, and move on to the one after it (NULL: none).  False:
 * the part is too long, and matches nothing. */
static bool take_part(const char **at, char ret[KEY_SCOPE_SIZE])
{
	size_t n = strcspn(*at, "/");
	if (n >= KEY_SCOPE_SIZE)
		return false;
	memcpy(ret, *at, n);
	ret[n] = '\0';
	*at = (*at)[n] ? *at + n + 1 : NULL;
	return true;
}

/* Can a repository have such a name?  It has a host and a path, and neither a tag nor a digest. */
static bool scope_names_any(const char *scope)
{
	char part[KEY_SCOPE_SIZE];
	bool several = strchr(scope, '/') || strcmp(scope, "**") == 0;
	for (bool host = true; scope; host = false) {
		if (!take_part(&scope, part) || !part[0] || (!host && strpbrk(part, ":@")))
			return false;
	}
	return several;
}

int key_scope_check(const char *scope, struct mvm_error *err)
{
	return strlen(scope) < KEY_SCOPE_SIZE && !strpbrk(scope, "\r\n") && scope_names_any(scope)
		       ? 0
		       : mvm_error_set(err, -EINVAL,
				       "'%.80s' is no name of repositories: write HOST/NAME, "
				       "without a tag, or a pattern such as HOST/**",
				       scope);
}

int keys_trust(struct store *s, const char *name, const struct public_key *pub, const char *scope,
	       struct key_info *ret, struct mvm_error *err)
{
	char file[KEY_NAME_SIZE + 8], pem[KEY_PEM_SIZE];
	struct public_key old;
	bool all = str_empty(scope);

	int r = name_check(NAME_KEY, name, err);
	if (r == 0 && !all)
		r = key_scope_check(scope, err);
	int dir = r < 0 ? r : store_dir_get(s, STORE_TRUST, err);
	int scratch = dir < 0 ? dir : store_scratch(s, err);
	if (scratch < 0)
		return scratch;
	file_name(name, PUBLIC_END, file);
	if (faccessat(dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && !holds_public(dir, file, &old))
		return in_the_way("trust", file, "it is no public key", err);
	key_public_pem(pub, pem);
	AUTO_FREE char *text = str_printf("%s%s%s%s", all ? "" : KEY_SCOPE_LINE, all ? "" : scope,
					  all ? "" : "\n", pem);
	if (!text)
		return mvm_error_oom(err);
	r = file_replace_at(scratch, dir, file, text, strlen(text), 0644);
	if (r < 0)
		return not_stored(s, name, r, err);
	describe(name, pub, ret);
	snprintf(ret->scope, sizeof(ret->scope), "%s", all ? "" : scope);
	return 0;
}

int keys_untrust(struct store *s, const char *name, struct mvm_error *err)
{
	char file[KEY_NAME_SIZE + 8];
	struct public_key pub;

	int r = name_check(NAME_KEY, name, err);
	if (r < 0)
		return r;
	file_name(name, PUBLIC_END, file);
	int dir = store_dir(s, STORE_TRUST);
	if (dir < 0 || !holds_public(dir, file, &pub))
		return mvm_error_set(err, dir < 0 ? dir : -ENOENT,
				     "no trusted key has the name '%s'", name);
	r = unlinkat(dir, file, 0) < 0 ? -errno : dir_sync(dir);
	if (r >= 0)
		return 0;
	mvm_error_set(err, r, "cannot remove the key '%s': %s", name, strerror(-r));
	return store_mend(s, r, err);
}

/* What stands in front of the key: nothing, or one line with its scope.  Anything else, such as a
 * comment before that line, must not make the key count for everything. */
static bool read_scope(const char *text, char ret[KEY_SCOPE_SIZE])
{
	const char *key = strstr(text, KEY_BEGIN), *scope = text + strlen(KEY_SCOPE_LINE);

	if (key == text)
		return true;
	if (!key || !str_starts(text, KEY_SCOPE_LINE))
		return false;
	size_t n = strcspn(scope, "\n");
	if (n == 0 || n >= KEY_SCOPE_SIZE || scope + n + 1 != key)
		return false;
	memcpy(ret, scope, n);
	ret[n] = '\0';
	return true;
}

/* Read a public key's file.  Anything odd is no key. */
static bool read_public(int dir, const char *file, struct key_info *ret)
{
	AUTO_FREE char *text = NULL, *name = NULL;
	const size_t len = strlen(file), end = strlen(PUBLIC_END);
	struct public_key pub;

	if (len <= end || strcmp(file + len - end, PUBLIC_END) != 0)
		return false;
	name = strndup(file, len - end);
	if (!name || !name_valid(NAME_KEY, name) ||
	    file_read_at(dir, file, FILE_MAX, &text, NULL) < 0 || key_parse_public(text, &pub) < 0)
		return false;
	describe(name, &pub, ret);
	return read_scope(text, ret->scope);
}

int keys_list(struct store *s, bool trusted, struct key_list *ret, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_DONE(key_list) list = { 0 };
	enum store_dir which = trusted ? STORE_TRUST : STORE_KEYS;

	int r = store_dir_names(s, which, &names, err);
	if (r < 0)
		return r;
	int dir = store_dir(s, which);
	list.v = calloc(names.n + 1, sizeof(*list.v));
	if (!list.v)
		return mvm_error_oom(err);
	for (size_t i = 0; i < names.n; i++)
		list.n += read_public(dir, names.v[i], &list.v[list.n]);
	*ret = list;
	list = (struct key_list){ 0 };
	return 0;
}

int keys_find_public(struct store *s, const char *name, struct public_key *ret,
		     struct mvm_error *err)
{
	for (int trusted = 0; trusted < 2; trusted++) {
		AUTO_DONE(key_list) list = { 0 };
		int r = keys_list(s, trusted, &list, err);
		if (r < 0)
			return r;
		for (size_t i = 0; i < list.n; i++) {
			if (!str_eq(list.v[i].name, name))
				continue;
			*ret = list.v[i].pub;
			return 0;
		}
	}
	return no_key(name, -ENOENT, err);
}

bool keys_are_trusted(struct store *s, const char *fingerprint)
{
	AUTO_DONE(key_list) list = { 0 };

	if (!fingerprint || keys_list(s, true, &list, NULL) < 0)
		return false;
	for (size_t i = 0; i < list.n; i++) {
		if (str_eq(list.v[i].fingerprint, fingerprint))
			return true;
	}
	return false;
}

/* Does a part of the name fit?  fnmatch(3) would take "[::1]", a host, for a set of letters. */
static bool part_matches(const char *want, const char *part)
{
	size_t in = want[0] == '[' ? strspn(want + 1, "0123456789abcdefABCDEF:.") : 0;
	bool address = in && want[in + 1] == ']' && memchr(want + 1, ':', in);

	if (address && strncasecmp(want, part, in + 2) != 0)
		return false;
	return fnmatch(address ? want + in + 2 : want, address ? part + in + 2 : part, 0) == 0;
}

/* "**" takes one part more each time the rest does not fit.  Only the last one may: whatever an
 * earlier one takes, the last could take as well. */
static bool scope_matches(const char *scope, const char *name)
{
	char want[KEY_SCOPE_SIZE], part[KEY_SCOPE_SIZE];
	const char *after = NULL, *again = NULL; /* of the last "**", and the name's rest */
	while (name) {
		bool wants = scope != NULL;
		const char *next = name;
		if ((wants && !take_part(&scope, want)) || !take_part(&next, part))
			return false;
		if (wants && strcmp(want, "**") == 0) {
			after = scope;
			name = again = next;
		} else if (wants && part_matches(want, part)) {
			name = next;
		} else if (again && take_part(&again, part)) {
			scope = after;
			name = again;
		} else {
			return false;
		}
	}
	return scope == NULL;
}

bool key_covers(const struct key_info *key, const char *repository)
{
	return !key->scope[0] || (repository && scope_matches(key->scope, repository));
}

int keys_count_for(struct store *s, const char *repository, size_t *ret, struct mvm_error *err)
{
	AUTO_DONE(key_list) trusted = { 0 };

	*ret = 0;
	int r = keys_list(s, true, &trusted, err);
	for (size_t i = 0; r == 0 && i < trusted.n; i++)
		*ret += key_covers(&trusted.v[i], repository);
	return r;
}
