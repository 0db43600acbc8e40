/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_UPGRADE_H
#define SERVICE_UPGRADE_H

/*
 * A connection that has stopped speaking HTTP: bytes both ways, on the loop.
 *
 * The owner opens it as the reply to a request (101), and may write at once.  It lives until
 * `closed` was called, which happens once: after upgrade_finish() or upgrade_close(), when the
 * client has gone, or when the reply never came to be.
 */

#include <mvm/error.h>
#include <stdbool.h>
#include <stddef.h>

struct request;
struct upgrade;

#define UPGRADE_BYTES ((size_t)256 * 1024) /* that wait for the client */

struct upgrade_ops {
	/* Bytes from the client; all are taken.  May pause, finish or close. */
	void (*data)(void *arg, const void *data, size_t len);
	/* The client sends no more, but may read on; NULL: that closes the connection. */
	void (*end)(void *arg);
	void (*room)(void *arg);   /* upgrade_room() is not 0 any more; may be NULL */
	void (*closed)(void *arg); /* the last call; frees arg's own things */
};

/* What the reply says. */
struct upgrade_reply {
	const char *protocol;	    /* of the field Upgrade: "websocket" */
	const char *const *headers; /* name, value, name, …; NULL-terminated; may be NULL */
};

/*
 * Reply with an upgrade.
 *
 *   ret  borrowed; valid until ops->closed was called
 *
 * After a failure ops->closed is not called.
 */
int upgrade_open(struct request *rq, const struct upgrade_reply *reply,
		 const struct upgrade_ops *ops, void *arg, struct upgrade **ret,
		 struct mvm_error *err);

size_t upgrade_room(const struct upgrade *u);

/* Add bytes, all of them.  Without memory the connection closes. */
void upgrade_write(struct upgrade *u, const void *data, size_t len);

/* Stop and go on reading. */
void upgrade_pause(struct upgrade *u);
void upgrade_resume(struct upgrade *u);

/* Close it once all was sent, in ten seconds at the latest; or now. */
void upgrade_finish(struct upgrade *u);
void upgrade_close(struct upgrade *u);

#endif
