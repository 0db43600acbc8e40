/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_WORKER_H
#define SERVICE_WORKER_H

/*
 * Threads for the library's blocking calls.
 *
 * The loop never waits.  A call that starts, stops or builds something, or that reads the disk, is
 *a job: a worker thread runs it with a library context of its own, and then the loop finishes it:
 *
 *	struct job { struct work work; ... };
 *	job->work = (struct work){ .run = run_job, .done = job_done };
 *	r = workers_add(workers, &job->work);
 *
 * run is called on a worker thread.  It touches only what belongs to its job, and what does not
 * change.  done is called on the loop, after run, and may free the job.  Nothing else is shared, so
 * only the two queues in worker.c have a lock.
 *
 * A pool has a fixed number of threads, which live until workers_free(): children that the library
 * starts end with their thread (doc/threading.md).  Its queue is bounded.
 *
 * Some jobs take a day, such as a stop of a guest that ignores it.  So that no client has all
 * threads, a job of an owner begins only while more threads are free than the owner's jobs have;
 * younger jobs of others pass it.  Alone, an owner has half of the threads, and two leave some to a
 * third.  An owner has half of the queue, too.
 */

#include <mvm/mvm.h>

#include "base/loop.h"

struct work {
	struct work *next;				 /* worker.c's */
	void (*run)(struct work *work, struct mvm *mvm); /* on a worker; mvm is the worker's own */
	void (*done)(struct work *work);		 /* on the loop */
	const char *owner; /* whose share it takes, until run has ended; NULL: it may take all */
};

struct workers;

/*
 * Start a pool.
 *
 *   data_dir   of the workers' contexts; NULL as for mvm_open()
 *   queue_max  jobs that may wait for a free worker
 *
 * Signals that the caller has blocked stay blocked in the workers.
 */
int workers_new(struct loop *loop, const char *data_dir, unsigned threads, unsigned queue_max,
		struct workers **ret, struct mvm_error *err);

/* Wait for the jobs that run, finish all that have run, drop the others' run (their done is called)
 * and end the threads.  On the loop's thread; NULL is fine. */
void workers_free(struct workers *w);
DEFINE_AUTO(workers, workers_free)

/* Queue a job.  Returns 0; -EAGAIN when too many wait, or -EDQUOT when too many of its owner's do:
 * then the caller keeps it.  On the loop. */
int workers_add(struct workers *w, struct work *work, struct mvm_error *err);

/* Have the loop call work->done, without a run.  From any thread: for a running job's news, which
 * arrive before the job's own done. */
void workers_post(struct workers *w, struct work *work);

/* How many jobs wait, and how many run, now.  From any thread. */
void workers_load(struct workers *w, unsigned *ret_waiting, unsigned *ret_running);

#endif
