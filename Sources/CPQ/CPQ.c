#define _GNU_SOURCE

#include "CPQ.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <postgresql/libpq-fe.h>

// The name carries the version of the binary interface, which is what the header above describes.
#define LIBRARY "libpq.so.5"

#define FUNCTIONS(each)                                                                                              \
    each(PQconninfoParse) each(PQconninfoFree) each(PQfreemem) each(PQconnectdbParams) each(PQfinish) each(PQstatus)  \
    each(PQerrorMessage) each(PQserverVersion) each(PQbackendPID) each(PQsocket) each(PQsetnonblocking)               \
    each(PQsetNoticeReceiver) each(PQsendQuery) each(PQsendPrepare) each(PQsendQueryPrepared)                         \
    each(PQsendQueryParams) each(PQenterPipelineMode) each(PQexitPipelineMode) each(PQpipelineSync) each(PQflush)     \
    each(PQconsumeInput) each(PQisBusy) each(PQgetResult) each(PQclear) each(PQresultStatus)                          \
    each(PQresultErrorMessage) each(PQresultErrorField) each(PQntuples) each(PQnfields) each(PQfname)                 \
    each(PQgetisnull) each(PQgetvalue) each(PQgetlength) each(PQnotifies) each(PQconnectionUsedPassword)              \
    each(PQconnectionNeedsPassword) each(PQparameterStatus) each(PQreset) each(PQsetErrorVerbosity)

#define DECLARE(function) __typeof__(function) *function;
static struct {
    FUNCTIONS(DECLARE)
} pq;
static int is_there;

static void load(void) {
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return;
// The pipeline came with version 14: an older library lacks it.
#define LOAD(function)                                         \
    pq.function = (__typeof__(pq.function))dlsym(handle, #function); \
    if (!pq.function) {                                        \
        dlclose(handle);                                       \
        return;                                                \
    }
    FUNCTIONS(LOAD)
    is_there = 1;
}

int cpq_is_there(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return is_there;
}

static PGconn *in(const cpq_connection *connection) { return (PGconn *)connection; }
static PGresult *of(const cpq_result *result) { return (PGresult *)result; }

char *cpq_option(const char *conninfo, const char *keyword, int *valid) {
    char *message = NULL;
    PQconninfoOption *options = pq.PQconninfoParse(conninfo, &message);
    // The message may quote a part of the string, and that may be a part of a password.
    if (message) pq.PQfreemem(message);
    *valid = options != NULL;
    if (!options) return NULL;
    char *value = NULL;
    for (PQconninfoOption *option = options; option->keyword; option++)
        if (strcmp(option->keyword, keyword) == 0 && option->val) value = strdup(option->val);
    pq.PQconninfoFree(options);
    return value;
}

/// Notices are not for the standard error of whoever uses the library.
static void ignore(void *context, const PGresult *result) {
    (void)context;
    (void)result;
}

cpq_connection *cpq_connect(const char *conninfo, const char *seconds, const char *name, const char *attributes,
                            const char *unacknowledged) {
    // Of a keyword that comes twice the last value counts, and what `dbname` expands to stands in its place.
    const char *keywords[] = {"connect_timeout", "fallback_application_name", "target_session_attrs",
                              "keepalives_idle", "keepalives_interval",       "keepalives_count",
                              "tcp_user_timeout", "dbname",                   "client_encoding", NULL};
    const char *values[] = {seconds, name, attributes, "10", "5", "3", unacknowledged, conninfo, "UTF8", NULL};
    PGconn *connection = pq.PQconnectdbParams(keywords, values, 1);
    if (!connection) return NULL;
    pq.PQsetNoticeReceiver(connection, ignore, NULL);
    if (pq.PQstatus(connection) == CONNECTION_OK) pq.PQsetnonblocking(connection, 1);
    return (cpq_connection *)connection;
}

int cpq_connect_again(cpq_connection *connection) {
    pq.PQsetErrorVerbosity(in(connection), PQERRORS_SQLSTATE);
    pq.PQreset(in(connection));
    pq.PQsetErrorVerbosity(in(connection), PQERRORS_DEFAULT);
    return pq.PQstatus(in(connection)) == CONNECTION_OK && pq.PQsetnonblocking(in(connection), 1) == 0;
}

void cpq_finish(cpq_connection *connection) { pq.PQfinish(in(connection)); }
int cpq_is_connected(const cpq_connection *connection) { return pq.PQstatus(in(connection)) == CONNECTION_OK; }
int cpq_was_asked_for_password(const cpq_connection *connection) {
    // A server tells its version once it has let the role in; what is wrong then is something else.
    if (pq.PQparameterStatus(in(connection), "server_version")) return 0;
    return pq.PQconnectionUsedPassword(in(connection)) || pq.PQconnectionNeedsPassword(in(connection));
}
const char *cpq_error(const cpq_connection *connection) { return pq.PQerrorMessage(in(connection)); }
int cpq_server_version(const cpq_connection *connection) { return pq.PQserverVersion(in(connection)); }
int cpq_backend_pid(const cpq_connection *connection) { return pq.PQbackendPID(in(connection)); }
int cpq_socket(const cpq_connection *connection) { return pq.PQsocket(in(connection)); }

int cpq_send_script(cpq_connection *connection, const char *sql) { return pq.PQsendQuery(in(connection), sql); }

int cpq_send_prepare(cpq_connection *connection, const char *name, const char *sql) {
    return pq.PQsendPrepare(in(connection), name, sql, 0, NULL);
}

int cpq_send(cpq_connection *connection, const char *name, const char *sql, int count, const char *text,
             const int32_t *offsets) {
    const char *values[CPQ_VALUES_LIMIT];
    if (count < 0 || count > CPQ_VALUES_LIMIT) return 0;
    for (int index = 0; index < count; index++) values[index] = offsets[index] < 0 ? NULL : text + offsets[index];
    if (name) return pq.PQsendQueryPrepared(in(connection), name, count, values, NULL, NULL, 0);
    return pq.PQsendQueryParams(in(connection), sql, count, NULL, values, NULL, NULL, 0);
}

int cpq_enter_pipeline(cpq_connection *connection) { return pq.PQenterPipelineMode(in(connection)); }
int cpq_exit_pipeline(cpq_connection *connection) { return pq.PQexitPipelineMode(in(connection)); }
int cpq_sync(cpq_connection *connection) { return pq.PQpipelineSync(in(connection)); }
int cpq_flush(cpq_connection *connection) { return pq.PQflush(in(connection)); }
int cpq_consume(cpq_connection *connection) { return pq.PQconsumeInput(in(connection)); }
int cpq_is_busy(cpq_connection *connection) { return pq.PQisBusy(in(connection)); }

cpq_result *cpq_next_result(cpq_connection *connection) { return (cpq_result *)pq.PQgetResult(in(connection)); }
void cpq_clear(cpq_result *result) { pq.PQclear(of(result)); }

enum cpq_status cpq_result_status(const cpq_result *result) {
    switch (pq.PQresultStatus(of(result))) {
        case PGRES_COMMAND_OK:
        case PGRES_EMPTY_QUERY: return CPQ_DONE;
        case PGRES_TUPLES_OK: return CPQ_ROWS;
        case PGRES_PIPELINE_SYNC: return CPQ_SYNC;
        case PGRES_PIPELINE_ABORTED: return CPQ_SKIPPED;
        default: return CPQ_FAILED;
    }
}

const char *cpq_result_error(const cpq_result *result) {
    // The primary message alone: the details may quote what a row holds. What the library says itself has no fields.
    const char *primary = pq.PQresultErrorField(of(result), PG_DIAG_MESSAGE_PRIMARY);
    return primary ? primary : pq.PQresultErrorMessage(of(result));
}

const char *cpq_result_state(const cpq_result *result) { return pq.PQresultErrorField(of(result), PG_DIAG_SQLSTATE); }
int cpq_rows(const cpq_result *result) { return pq.PQntuples(of(result)); }
int cpq_columns(const cpq_result *result) { return pq.PQnfields(of(result)); }
const char *cpq_column_name(const cpq_result *result, int column) { return pq.PQfname(of(result), column); }

const char *cpq_value(const cpq_result *result, int row, int column, int *length) {
    if (pq.PQgetisnull(of(result), row, column)) return NULL;
    *length = pq.PQgetlength(of(result), row, column);
    return pq.PQgetvalue(of(result), row, column);
}

int cpq_take_notifications(cpq_connection *connection) {
    int count = 0;
    for (PGnotify *one = pq.PQnotifies(in(connection)); one; one = pq.PQnotifies(in(connection))) {
        pq.PQfreemem(one);
        count++;
    }
    return count;
}

int cpq_waker(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
