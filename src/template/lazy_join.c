/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several processes start VMs from one pull.
 *
 * Who has an artifact's turn pulls it, and listens in its staging folder, at the manifest's digest.
 * Another mvm-pull connects, and waits there.  Once VMs can start, each gets a struct shown with
 * the descriptors of struct lazy.  A pull that is not lazy, or fails, hangs up: then the other one
 * takes the turn, and finds what has come.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/sock.h"
#include "codec/sha256.h"
#include "template/lazy.h"

/* Between taking the turn and listening is no time, but a kernel may stop a process there. */
#define LOOKS	4
#define LOOK_MS 50

struct shown {
	char id[MVM_TEMPLATE_ID_SIZE], hash[MVM_REVISION_SIZE];
};

/* ---- who pulls ---- */

static void listen_at(struct lazy *lazy, int dir_fd, const struct mvm_digest *manifest)
{
	char name[DIGEST_HEX_SIZE];

	digest_hex(manifest, name);
	lazy->listen_fd = sock_listen_at(dir_fd, name); /* without it others wait for all of it */
}

void lazy_answer(const struct lazy *lazy, const char *id, int dir_fd, int source_fd)
{
	const int fds[] = { dir_fd, source_fd };
	struct shown shown = { 0 };

	snprintf(shown.id, sizeof(shown.id), "%s", id);
	snprintf(shown.hash, sizeof(shown.hash), "%s", lazy->staged.rev->revision_hash);
	for (;;) {
		AUTO_CLOSE int sock = sock_accept(lazy->listen_fd);
		if (sock < 0)
			return;
		sock_send_fds(sock, &shown, sizeof(shown), fds, MVM_ARRAY_SIZE(fds));
	}
}

/* ---- who joins ---- */

/* Connect to the process that pulls the artifact.  A descriptor; -1: none listens. */
static int connect_to(struct store *store, const struct mvm_digest *manifest)
{
	AUTO_DONE(strv) names = { 0 };
	char name[DIGEST_HEX_SIZE];
	int tmp_fd = store_dir(store, STORE_TMP);

	digest_hex(manifest, name);
	if (tmp_fd < 0 || dir_list(tmp_fd, &names) < 0)
		return -1;
	for (size_t i = 0; i < names.n; i++) {
		AUTO_CLOSE int dir = dir_open_at(tmp_fd, names.v[i]);
		int sock = dir < 0 ? dir : sock_try_connect_at(dir, name);
		if (sock >= 0)
			return sock;
	}
	return -1;
}

/* Wait until VMs can start from the other's pull.  1; 0: they cannot. */
static int wait_for_it(int sock, struct lazy *lazy, const char *id,
		       const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	struct shown shown;
	int fds[2] = { -1, -1 };
	size_t n = 0;

	progress_begin(&step, progress, "waiting for a pull of it that is under way");
	int r = progress_wait(progress, sock, DEADLINE_NONE);
	if (r == -ECANCELED)
		return mvm_error_cancelled(err, "waiting for another pull");
	ssize_t got = r < 0 ? r : sock_receive_fds(sock, &shown, sizeof(shown), 0, fds, 2, &n);
	AUTO_CLOSE int dir = fds[0], source = fds[1];
	progress_end(&step, NULL);
	shown.id[sizeof(shown.id) - 1] = shown.hash[sizeof(shown.hash) - 1] = '\0';
	if (got != (ssize_t)sizeof(shown) || n != 2 || !str_eq(shown.id, id))
		return 0;
	r = lazy->on_ready(lazy->arg, shown.hash, dir, source, err);
	return r < 0 ? r : 1;
}

static int look(struct mvm *mvm, struct pull *p, const struct mvm_digest *manifest, const char *id,
		struct lazy *lazy, const struct mvm_progress *progress, struct mvm_error *err)
{
	for (int i = 0; i < LOOKS; i++) {
		int r = pull_try_turn(p, manifest, err);
		if (r != 0)
			return r < 0 ? r : 0;
		AUTO_CLOSE int sock = connect_to(mvm->store, manifest);
		if (sock >= 0)
			return wait_for_it(sock, lazy, id, progress, err);
		if (progress_wait(progress, -1, clock_deadline_ns(LOOK_MS)) == -ECANCELED)
			return mvm_error_cancelled(err, "waiting for another pull");
	}
	return 0;
}

int lazy_join(struct mvm *mvm, struct pull *p, const struct mvm_digest *manifest, int dir_fd,
	      const char *id, struct lazy *lazy, const struct mvm_progress *progress,
	      struct mvm_error *err)
{
	/* another pull may ask another registry's name, for which no signature is wanted */
	int r = pull_must_be_signed(p) ? 0 : look(mvm, p, manifest, id, lazy, progress, err);
	if (r == 0)
		r = pull_take_turn(p, manifest, err);
	if (r == 0)
		listen_at(lazy, dir_fd, manifest);
	return r;
}
