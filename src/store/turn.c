/* SPDX-License-Identifier: Apache-2.0 */
#include "store/turn.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "codec/sha256.h"
#include "store/store_priv.h"

#define PREFIX "build."

/* Find the lock file of a turn, without taking it. */
static int find_turn(struct store *s, const char *cache_key, struct turn *ret)
{
	*ret = (struct turn)TURN_NONE;
	ret->locks_fd = store_dir(s, STORE_LOCKS);
	if (ret->locks_fd < 0)
		return ret->locks_fd;
	if ((size_t)snprintf(ret->name, sizeof(ret->name), PREFIX "%s", cache_key) >=
	    sizeof(ret->name))
		return -ENAMETOOLONG;
	return 0;
}

int turn_take(struct store *s, const char *cache_key, const char *what, struct turn *ret,
	      char ret_holder[LOCK_HOLDER_SIZE])
{
	struct turn t;

	int r = find_turn(s, cache_key, &t);
	if (r < 0)
		return r;
	if (ret_holder)
		ret_holder[0] = '\0';
	t.fd = lock_take_at(t.locks_fd, t.name, LOCK_NOWAIT, what, ret_holder);
	if (t.fd < 0)
		return t.fd;
	*ret = t;
	return 0;
}

int turn_await(struct store *s, const char *cache_key, const struct mvm_progress *progress)
{
	struct turn t;
	int r = find_turn(s, cache_key, &t);
	return r < 0 ? r : lock_await_at(t.locks_fd, t.name, -1, DEADLINE_NONE, progress);
}

void turn_done(struct turn *t)
{
	if (t->fd < 0)
		return;
	lock_remove_at(t->locks_fd, t->name);
	close(t->fd);
	*t = (struct turn)TURN_NONE;
}

int turn_sweep(struct store *s)
{
	AUTO_DONE(strv) names = { 0 };
	int locks_fd = store_dir(s, STORE_LOCKS);
	int r = locks_fd < 0 ? locks_fd : dir_list(locks_fd, &names);

	for (size_t i = 0; r >= 0 && i < names.n; i++) {
		struct mvm_digest key;
		if (!str_starts(names.v[i], PREFIX) ||
		    digest_parse(names.v[i] + strlen(PREFIX), &key) < 0 ||
		    !lock_is_own_at(locks_fd, names.v[i]))
			continue;
		AUTO_DONE(turn) left = TURN_NONE;
		turn_take(s, names.v[i] + strlen(PREFIX), "sweep", &left, NULL);
	}
	return r < 0 ? r : 0;
}
