/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_QMP_MESSAGE_H
#define NET_QMP_MESSAGE_H

/*
 * One line of the QEMU Machine Protocol, as a value.
 *
 * QEMU sends one JSON object per line.  This module alone checks the content of a line; qmp.h
 * checks the order of the messages.
 */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/own.h"

#define QMP_LINE_MAX  (1u << 20)
#define QMP_DEPTH_MAX 32u

enum qmp_kind {
	QMP_KIND_GREETING,
	QMP_KIND_RETURN,
	QMP_KIND_ERROR,
	QMP_KIND_EVENT,
};

struct qmp_message {
	json_t *root; /* owned; the rest borrows from it */
	enum qmp_kind kind;
	int64_t id;	  /* of RETURN and ERROR; 0 when the peer sent none */
	json_t *data;	  /* GREETING: "QMP"; RETURN: its value; EVENT: "data", may be NULL */
	const char *text; /* ERROR: the peer's sentence; EVENT: its name; else NULL */
};

void qmp_message_done(struct qmp_message *m);
DEFINE_AUTO_DONE(qmp_message, qmp_message_done)

/*
 * Read one line.
 *
 *   line  len bytes, with or without the line's end; untrusted
 *   ret   on success the message; qmp_message_done() it
 *
 * Returns 0 or -EPROTO: no JSON object, nested deeper than QMP_DEPTH_MAX, a key twice, or none of
 * the four kinds.
 * Source: QEMU docs/interop/qmp-spec.txt, sections 2.2 to 2.5.
 */
int qmp_message_parse(const char *line, size_t len, struct qmp_message *ret, struct mvm_error *err);

#endif
