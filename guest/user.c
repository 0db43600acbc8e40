/* SPDX-License-Identifier: Apache-2.0 */
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/error.h"
#include "base/file.h"
#include "base/parse.h"
#include "base/str.h"

#define FILE_MAX   (4u << 20)
#define ID_MAX	   4294967294u /* 4294967295 means "no id" to the kernel */
#define FIELDS_MAX 7

struct fields {
	const char *text[FIELDS_MAX];
	size_t len[FIELDS_MAX];
	size_t n;
};

/* Split the line at *text at its colons, and step over it.  Returns false at the text's end. */
static bool next_line(const char **text, struct fields *ret)
{
	const char *p = *text;
	if (!*p)
		return false;
	ret->n = 0;
	while (ret->n < FIELDS_MAX) {
		size_t len = strcspn(p, ret->n + 1 < FIELDS_MAX ? ":\n" : "\n");
		ret->text[ret->n] = p;
		ret->len[ret->n++] = len;
		p += len;
		if (*p != ':')
			break;
		p++;
	}
	p += strcspn(p, "\n");
	*text = *p ? p + 1 : p;
	return true;
}

static bool field_is(const struct fields *f, size_t i, const char *s, size_t len)
{
	return i < f->n && f->len[i] == len && memcmp(f->text[i], s, len) == 0;
}

static bool number(const char *s, size_t len, uint32_t *ret)
{
	char digits[16];
	uint64_t value;
	if (len == 0 || len >= sizeof(digits))
		return false;
	memcpy(digits, s, len);
	digits[len] = '\0';
	if (parse_u64(digits, 0, ID_MAX, &value) < 0)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool field_number(const struct fields *f, size_t i, uint32_t *ret)
{
	return i < f->n && number(f->text[i], f->len[i], ret);
}

static void copy_field(const struct fields *f, size_t i, char *ret, size_t size)
{
	if (i < f->n && f->len[i] > 0 && f->len[i] < size) {
		memcpy(ret, f->text[i], f->len[i]);
		ret[f->len[i]] = '\0';
	}
}

/* Find the passwd line of a name or a number.  A number without a line is a user, too. */
static bool find_user(const char *passwd, const char *name, size_t len, struct user *ret)
{
	struct fields f;
	uint32_t wanted = 0, uid, gid;
	bool is_number = number(name, len, &wanted);

	while (next_line(&passwd, &f)) {
		if (!field_number(&f, 2, &uid) || !field_number(&f, 3, &gid))
			continue;
		if (is_number ? uid != wanted : !field_is(&f, 0, name, len))
			continue;
		ret->uid = uid;
		ret->gid = gid;
		copy_field(&f, 0, ret->name, sizeof(ret->name));
		copy_field(&f, 5, ret->home, sizeof(ret->home));
		return true;
	}
	ret->uid = wanted;
	return is_number;
}

static bool find_group(const char *group, const char *name, size_t len, gid_t *ret)
{
	struct fields f;
	uint32_t gid;

	if (number(name, len, ret))
		return true;
	while (next_line(&group, &f)) {
		if (field_is(&f, 0, name, len) && field_number(&f, 2, &gid)) {
			*ret = gid;
			return true;
		}
	}
	return false;
}

static bool is_member(const char *list, size_t list_len, const char *name)
{
	size_t len = strlen(name);
	for (size_t at = 0; at < list_len;) {
		size_t end = at;
		while (end < list_len && list[end] != ',')
			end++;
		if (end - at == len && memcmp(list + at, name, len) == 0)
			return true;
		at = end + 1;
	}
	return false;
}

static void add_member_groups(const char *group, struct user *u)
{
	struct fields f;
	uint32_t gid;
	const char *text = group;
	while (u->name[0] && next_line(&text, &f)) {
		if (u->n_groups < USER_GROUPS_MAX && f.n > 3 && field_number(&f, 2, &gid) &&
		    gid != u->gid && is_member(f.text[3], f.len[3], u->name))
			u->groups[u->n_groups++] = gid;
	}
}

int user_parse(const char *passwd, const char *group, const char *spec, struct user *ret,
	       struct mvm_error *err)
{
	struct user u = { .home = "/" };

	const char *name = spec ? spec : "";
	size_t len = strcspn(name, ":");
	const char *of = name[len] ? name + len + 1 : "";
	size_t of_len = strcspn(of, ":"); /* ignore text after a second colon */
	if (!find_user(passwd, len ? name : "0", len ? len : 1, &u))
		return mvm_error_set(err, -EINVAL, "the guest has no user '%.*s'", (int)len, name);
	u.groups[u.n_groups++] = u.gid;
	if (of_len) {
		if (!find_group(group, of, of_len, &u.gid))
			return mvm_error_set(err, -EINVAL, "the guest has no group '%.*s'",
					     (int)of_len, of);
		u.groups[0] = u.gid;
	} else {
		add_member_groups(group, &u);
	}
	if (u.uid == 0 && strcmp(u.home, "/") == 0)
		strcpy(u.home, "/root"); /* an image without /etc/passwd */
	*ret = u;
	return 0;
}

static int read_file(const char *path, char **ret, struct mvm_error *err)
{
	int r = file_read_at(AT_FDCWD, path, FILE_MAX, ret, NULL);
	if (r == -ENOENT) {
		*ret = strdup("");
		return *ret ? 0 : mvm_error_oom(err);
	}
	return r < 0 ? mvm_error_set(err, r, "cannot read '%s': %s", path, strerror(-r)) : 0;
}

#define SETTLED_S 2 /* a file that changed just now may change again without a new time */

/* The last look-up, and the files that it read. */
static struct {
	bool known;
	char spec[256];
	struct stat files[2];
	struct user user;
} last;

static const char *const files[] = { "/etc/passwd", "/etc/group" };

/* Note what tells whether a file has changed.  A missing file is all zero. */
static bool look(const char *path, struct stat *ret)
{
	*ret = (struct stat){ 0 };
	return stat(path, ret) == 0 || errno == ENOENT;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void remember(const char *spec, const struct stat now[2], const struct user *user)
{
	struct timespec clock;
	size_t len = strlen(spec);
	clock_gettime(CLOCK_REALTIME, &clock); /* cannot fail with valid arguments */
	last.known = len < sizeof(last.spec);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(files); i++) {
		/* a time in the future is not settled: the clock may have been set back */
		last.known = last.known && now[i].st_ctim.tv_sec + SETTLED_S <= clock.tv_sec;
		last.files[i] = now[i];
	}
	if (last.known) {
		memcpy(last.spec, spec, len + 1);
		last.user = *user;
	}
}

int user_find(const char *spec, struct user *ret, struct mvm_error *err)
{
	AUTO_FREE char *passwd = NULL;
	AUTO_FREE char *group = NULL;
	struct stat now[2];
	bool seen = look(files[0], &now[0]) && look(files[1], &now[1]);
	const char *wanted = spec ? spec : "";
	if (seen && last.known && strcmp(wanted, last.spec) == 0 &&
	    same_file(&now[0], &last.files[0]) && same_file(&now[1], &last.files[1])) {
		*ret = last.user;
		return 0;
	}
	int r = read_file(files[0], &passwd, err);
	if (r == 0)
		r = read_file(files[1], &group, err);
	if (r == 0)
		r = user_parse(passwd, group, spec, ret, err);
	if (r == 0 && seen)
		remember(wanted, now, ret);
	return r;
}
