/* SPDX-License-Identifier: Apache-2.0 */
/* The files in locks/: locks of the store and of templates, and leases on revisions. */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "model/name.h"
#include "store/store_priv.h"

#define TEMPLATE_PREFIX "template."
#define LEASES_PREFIX	"lease."
#define STORE_LOCK	"store"
#define LOCK_NAME_SIZE	96

static int locks_dir(struct store *s)
{
	return store_read_only(s) ? -EROFS : store_dir(s, STORE_LOCKS);
}

static int take(struct store *s, const char *name, unsigned flags, const char *what,
		char ret_holder[LOCK_HOLDER_SIZE])
{
	int locks = locks_dir(s);
	if (ret_holder)
		ret_holder[0] = '\0';
	return locks < 0 ? locks : lock_take_at(locks, name, flags, what, ret_holder);
}

static int lock_name(const char *prefix, const char *id, char ret[LOCK_NAME_SIZE])
{
	if (!name_valid(NAME_TEMPLATE, id))
		return -EINVAL;
	snprintf(ret, LOCK_NAME_SIZE, "%s%s", prefix, id);
	return 0;
}

int store_lock(struct store *s, const char *what, const struct mvm_progress *progress)
{
	for (;;) {
		int r = take(s, STORE_LOCK, LOCK_NOWAIT | LOCK_PAST_LOOKS, what, NULL);
		if (r != -EBUSY)
			return r;
		r = lock_await_at(locks_dir(s), STORE_LOCK, -1, DEADLINE_NONE, progress);
		if (r < 0)
			return r;
	}
}

int store_lock_template(struct store *s, const char *id, unsigned flags, const char *what,
			char ret_holder[LOCK_HOLDER_SIZE])
{
	char name[LOCK_NAME_SIZE];
	int r = lock_name(TEMPLATE_PREFIX, id, name);
	return r < 0 ? r : take(s, name, flags, what, ret_holder);
}

int store_await_template(struct store *s, const char *id, const struct mvm_progress *progress)
{
	char name[LOCK_NAME_SIZE];
	int locks = locks_dir(s);
	int r = lock_name(TEMPLATE_PREFIX, id, name);
	if (r < 0)
		return r;
	return locks < 0 ? locks : lock_await_at(locks, name, -1, DEADLINE_NONE, progress);
}

/* ---- leases ---- */

/* One file holds all leases on a template's revisions, each at a place that the revision's name
 * gives.  If two revisions shared a place, both would count as in use, which is harmless. */
static struct lock_span place_of(const char *revision)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (const char *p = revision; *p; p++)
		hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return (struct lock_span){ .first = hash >> 2, .n = 1 };
}

/* The leases are below these. */
static struct lock_span place_of_snapshot(const char *revision)
{
	struct lock_span place = place_of(revision);
	place.first |= UINT64_C(1) << 62;
	return place;
}

static int take_leases(struct store *s, const char *id, const struct lock_span *which,
		       unsigned flags)
{
	char name[LOCK_NAME_SIZE];
	int locks = locks_dir(s);
	int r = locks < 0 ? locks : lock_name(LEASES_PREFIX, id, name);
	return r < 0 ? r : lock_span_at(locks, name, which, flags);
}

int store_lease_revision(struct store *s, const char *id, const char *revision)
{
	const struct lock_span place = place_of(revision);
	return take_leases(s, id, &place, LOCK_SHARED);
}

int store_claim_revision(struct store *s, const char *id, const char *revision)
{
	const struct lock_span place = place_of(revision);
	return take_leases(s, id, &place, LOCK_NOWAIT);
}

int store_claim_template(struct store *s, const char *id)
{
	static const struct lock_span all = { 0 };
	return take_leases(s, id, &all, LOCK_NOWAIT);
}

int store_hold_snapshot(int lease_fd, const char *revision)
{
	const struct lock_span place = place_of_snapshot(revision);
	return lock_span_add(lease_fd, &place, LOCK_SHARED);
}

void store_let_go_snapshot(int lease_fd, const char *revision)
{
	const struct lock_span place = place_of_snapshot(revision);
	lock_span_drop(lease_fd, &place);
}

int store_claim_snapshot(struct store *s, const char *id, const char *revision)
{
	const struct lock_span place = place_of_snapshot(revision);
	return take_leases(s, id, &place, LOCK_NOWAIT);
}

bool store_revision_in_use(struct store *s, const char *id, const char *revision)
{
	const struct lock_span place = place_of(revision);
	char name[LOCK_NAME_SIZE];
	int locks = store_dir(s, STORE_LOCKS);
	return locks >= 0 && lock_name(LEASES_PREFIX, id, name) == 0 &&
	       lock_span_is_held_at(locks, name, &place);
}

/* ---- lock files of removed templates ---- */

static bool template_is_there(struct store *s, const char *id)
{
	int templates = store_dir(s, STORE_TEMPLATES);
	return templates < 0 || faccessat(templates, id, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void store_forget_locks(struct store *s, const char *id)
{
	char name[LOCK_NAME_SIZE];

	AUTO_CLOSE int lock = store_lock_template(s, id, LOCK_NOWAIT, "sweep", NULL);
	if (lock < 0 || template_is_there(s, id)) /* its holder may make the template again */
		return;
	AUTO_CLOSE int claim = store_claim_template(s, id);
	if (claim >= 0 && lock_name(LEASES_PREFIX, id, name) == 0)
		lock_remove_at(locks_dir(s), name);
	if (lock_name(TEMPLATE_PREFIX, id, name) == 0)
		lock_remove_at(locks_dir(s), name);
}

int store_sweep_locks(struct store *s)
{
	AUTO_DONE(strv) names = { 0 };
	int locks = locks_dir(s);
	int r = locks < 0 ? locks : dir_list(locks, &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		const char *id = strchr(names.v[i], '.');
		if (id &&
		    (str_starts(names.v[i], TEMPLATE_PREFIX) ||
		     str_starts(names.v[i], LEASES_PREFIX)) &&
		    name_valid(NAME_TEMPLATE, id + 1) && lock_is_own_at(locks, names.v[i]) &&
		    !template_is_there(s, id + 1))
			store_forget_locks(s, id + 1);
	}
	return r < 0 ? r : 0;
}
