/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies a VM's volumes in before its workload starts, at the first start and at every restart.
 * Copies them back when the VM is stopped without a client that does it.  The warden's child
 * copies; to us it is a client.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "instance/volume.h"
#include "supervisor/supervise.h"

#define LAST_WORDS_MS INT64_C(2000)  /* for a child to report that it has lost its guest */
#define SLACK_MS      INT64_C(10000) /* for a child to notice its own deadline and report it */

struct fill {
	uint64_t client; /* id of the child's connection */
	int64_t deadline_ns;
	int fd; /* the child's report: its error, or a note about left-out files */
	bool over;
	/* of a failure: its reason, a line, then its text */
	char why[MVM_ERROR_REASON_SIZE + MVM_ERROR_TEXT_SIZE];
	size_t len;
};

static void on_words(void *arg, uint32_t events)
{
	struct fill *f = arg;
	ssize_t n = read(f->fd, f->why + f->len, sizeof(f->why) - 1 - f->len);
	(void)events;
	if (n > 0)
		f->len += (size_t)n;
	else if (n == 0 || errno != EINTR)
		f->over = true;
}

/* Serve all clients, the child among them, until the child is done or no longer needed. */
static int wait_for_child(struct supervisor *s, struct fill *f, bool back)
{
	enum life_end before = s->end;
	struct loop_source *source;
	int r = loop_add_fd(s->loop, f->fd, EPOLLIN, on_words, f, &source);
	if (r < 0)
		return r;
	while (r == 0 && !f->over && (back || s->end == before) && !s->machine.ended)
		r = loop_run_once(s->loop, f->deadline_ns);
	if (back && !f->over) { /* only the child knows which volumes were not copied */
		int64_t deadline_ns = clock_deadline_ns(LAST_WORDS_MS);
		clients_hang_up(&s->clients, f->client);
		while (!f->over && loop_run_once(s->loop, deadline_ns) == 0)
			;
	}
	loop_source_free(source);
	return r;
}

/* Start the child.  Read its report from *ret_from. */
static int start_child(struct supervisor *s, bool back, uint64_t *ret_client, int *ret_from,
		       struct mvm_error *err)
{
	AUTO_CLOSE int from = -1;
	AUTO_CLOSE int control = -1;
	int r = warden_copy(&s->warden, back, &from, &control, err);
	if (r < 0)
		return r;
	r = clients_add_own(&s->clients, control, ret_client);
	if (r < 0) {
		warden_copied(&s->warden, true);
		return mvm_error_set(err, r, "cannot copy volumes: %s", strerror(-r));
	}
	(void)TAKE_FD(control);
	*ret_from = TAKE_FD(from);
	return 0;
}

/* Take over the error that a failed child reported. */
static int take_words(struct fill *f, struct mvm_error *err)
{
	char *text = f->why, *reason = strsep(&text, "\n");
	int r = mvm_error_set(err, -EIO, "%s", text ? text : reason);
	return text && *reason ? mvm_error_reason(err, r, reason, NULL) : r;
}

/* Have a child copy all volumes of s->fill_from.  The record names the files that were left out. */
static int run_copies(struct supervisor *s, bool back, struct mvm_error *err)
{
	struct fill f = {
		.deadline_ns = volumes_deadline_ns(s->fill_from) + SLACK_MS * NS_PER_MS,
	};
	AUTO_CLOSE int from = -1;

	int r = start_child(s, back, &f.client, &from, err);
	if (r < 0)
		return r;
	f.fd = from;
	r = wait_for_child(s, &f, back);
	int status = warden_copied(&s->warden, !f.over);
	if (f.over && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		set_string(&s->record.volumes_note, f.len ? f.why : NULL);
		return 0;
	}
	if (f.len)
		return take_words(&f, err);
	const char *why = "the copy was killed";
	if (r < 0)
		why = r == -ETIMEDOUT ? "the copy did not end in time" : strerror(-r);
	return volumes_all_lost(s->fill_from, back, why, err);
}

static int fill_volumes(void *arg, struct mvm_error *err)
{
	struct supervisor *s = arg;
	clients_guest_back(&s->clients);
	int r = run_copies(s, false, err);
	return r < 0 && s->end ? mvm_error_cancelled(err, "the start") : r;
}

void return_volumes(struct supervisor *s)
{
	struct mvm_error why;
	bool tried = s->state != LIFE_UP && s->state != LIFE_PAUSED;
	if (!volumes_come_back(&s->record) || s->machine.ended || tried)
		return;
	/* a paused guest cannot send its files, and they would be lost */
	int r = s->state == LIFE_PAUSED ? resume_guest(s, &why) : 0;
	if (r < 0 || s->state != LIFE_UP) {
		volumes_all_lost(&s->record, true, r < 0 ? why.text : "the VM was killed",
				 &s->lost);
		return;
	}
	life_enter(s, LIFE_RETURNING);
	note_stopping(s);
	clients_end_copies(&s->clients, s->clients.busy);
	s->fill_from = &s->record;
	if (run_copies(s, true, &s->lost) == 0 && s->record.volumes_note)
		tell(s, "volumes", s->record.volumes_note);
}

void note_lost_volumes(struct supervisor *s, enum life_state to, struct mvm_error *err)
{
	bool by_itself = (to == LIFE_EXITED || to == LIFE_FAILED) && !s->end;
	if (by_itself && s->state != LIFE_RETURNING && volumes_come_back(&s->record))
		volumes_all_lost(&s->record, true,
				 to == LIFE_EXITED
					 ? "the guest ended by itself, before they were copied"
					 : "the VM failed",
				 &s->lost);
	if (to == LIFE_FAILED && s->lost.code)
		mvm_error_more(err, err->code, "; %s", s->lost.text);
}

void fill_volumes_first(struct supervisor *s, const struct record *record)
{
	s->fill_from = record;
	set_string(&s->record.volumes_note, NULL);
	s->machine.before_workload = record->n_volumes ? fill_volumes : NULL;
	s->machine.before_arg = s;
}
