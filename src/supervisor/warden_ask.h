/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_WARDEN_ASK_H
#define SUPERVISOR_WARDEN_ASK_H

/* The questions of warden.h as messages: warden_ask.c makes them, warden.c answers. */

#include <stddef.h>

#include "instance/record.h"

enum warden_question {
	ASK_START = 1,
	ASK_SEAL,
	ASK_REAP,
	ASK_OPEN_STATE, /* NUMBER: create it */
	ASK_TAKE_BACK,
	ASK_KILL,
	ASK_FORGET_MEMORY,
	ASK_WHY_KILLED, /* NUMBER: the signal */
	ASK_PUT_AWAY,
	ASK_NEW_LOG, /* NUMBER: enum warden_log */
	ASK_SAVE,
	ASK_TELL,
	ASK_CONFINE,
	ASK_TOUCHED_BYTES,
	ASK_CAPTURE_DISKS,
	ASK_ADOPT,
	ASK_ADOPTED,
	ASK_GIVE_UP_ADOPTION,
	ASK_COPY,   /* NUMBER: back */
	ASK_COPIED, /* NUMBER: kill it */
	ASK_RELEASE,
	ASK_STOP_LISTENING,
	ASK_REMOVE,
	ASK_RULES, /* TEXT: JSON, as of CALL_NETWORK */
	ASK_START_NETWORK,
	ASK_SEAL_NETWORK,
	ASK_RENAME, /* TEXT: the name */
};

/* Questions about a state that is saved or continued (warden_saved.c, warden_continue.c). */
enum warden_saved_question {
	ASK_SAVED = 0x100, /* the first of them */
	ASK_SAVE_BEGIN = ASK_SAVED,
	ASK_SAVE_COPY,	  /* NUMBER: its disks, too; of the answer: there is more */
	ASK_SAVE_SUSPEND, /* TEXT: the nonce's SHA-256 */
	ASK_SAVE_FORK,	  /* likewise */
	ASK_SAVE_DROP, /* TEXT: the name of a fork's folder; none: the state that is being saved */
	ASK_LOAD_SAVED,
	ASK_USE_SAVED, /* NUMBER: enum warden_use */
	ASK_SAVE_READ, /* the same */
};

/* What a backend's body does, by the ops of these names: warden_body.c. */
enum warden_body_question {
	ASK_BODY = 0x200, /* the first of them */
	ASK_CONNECT = ASK_BODY,
	ASK_HALT, /* NUMBER: on */
	ASK_HOST_SWAPS,
	ASK_MOVE_STATE, /* NUMBER: store */
	ASK_OPEN_PORT,	/* FORWARDS: one of the record's */
	ASK_SET_RULES,	/* ALLOW, DENY */
};

enum warden_tag {
	TAG_NUMBER = 1,
	TAG_TEXT,
	TAG_REASON,
	TAG_EVENT,
	TAG_PID,
	TAG_ISOLATION,
	TAG_MEMORY,
	TAG_COPIED_NS,
	TAG_ENDS, /* mask of enum vmm_end */
	TAG_CGROUP,
	TAG_LIMITS,
	TAG_FORWARDS, /* struct vmm_forward, as it is in memory */
	TAG_STAGE,    /* a name; its TAG_STAGE_NS follows */
	TAG_STAGE_NS,
	TAG_REFUSAL, /* a target; the others follow */
	TAG_REFUSAL_PORT,
	TAG_REFUSAL_COUNT,
	TAG_REFUSAL_PROTOCOL,
	TAG_REFUSAL_REASON,
	TAG_REFUSAL_AT,
	TAG_NAME_SERVER, /* of the host; one each */
	TAG_ALLOW,	 /* one each */
	TAG_DENY,
	TAG_RECORD_TEXTS = 0x100,
	TAG_RECORD_NUMBERS = 0x200,
};

/* The texts that a supervisor may change in a record: they tell of its VM, and nobody acts on
 * them. */
static const size_t record_texts[] = {
	offsetof(struct record, error),		  offsetof(struct record, hostname),
	offsetof(struct record, machine_id),	  offsetof(struct record, started_at),
	offsetof(struct record, ended_at),	  offsetof(struct record, expires_at),
	offsetof(struct record, health_message),  offsetof(struct record, volumes_note),
	offsetof(struct record, network_problem), offsetof(struct record, disk_problem),
	offsetof(struct record, suspend_problem),
};
#define RECORD_TEXT_MAX 16384u

static inline char **record_text(struct record *rec, size_t i)
{
	return (char **)(void *)((char *)rec + record_texts[i]);
}

enum record_number {
	NUMBER_STATE,
	NUMBER_HEALTH,
	NUMBER_RESTARTS,
	NUMBER_EXIT_CODE,
	NUMBER_HAS_EXIT_CODE,
	NUMBER_WORKLOAD_ENDED,
	NUMBER_STOPPING,
	NUMBER_HELD, /* it is never held again */
	NUMBER_NETWORK_REFUSED,
	NUMBER_VOLUMES_LOST,
	NUMBER_TTL_MS,
	RECORD_NUMBERS,
};

#endif
