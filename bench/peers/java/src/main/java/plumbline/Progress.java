package plumbline;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.CompletableFuture;

/**
 * How much has been read and written, and since when. Messages are counted by one thread; groups and commits by one, the
 * same or another.
 */
final class Progress {
    /** Completed by the last message. */
    final CompletableFuture<Void> done = new CompletableFuture<>();

    private final long wanted = Long.parseLong(System.getenv("BENCH_MESSAGES"));
    private long messages;
    private long groups;
    private long commits;
    private long firstMs;
    private double firstCpu;

    void message() {
        if (messages == 0) {
            firstMs = System.currentTimeMillis();
            firstCpu = cpuSeconds();
        }
        messages++;
        if (messages == wanted) done.complete(null);
    }

    void group() {
        groups++;
    }

    /** For a program that is told of its commits. */
    void commit() {
        commits++;
    }

    /** Prints what the bench reads, once the threads that count have ended: the last line of the output. */
    void tell() {
        double seconds = (System.currentTimeMillis() - firstMs) / 1000.0;
        System.out.printf(
            "{\"messages\": %d, \"groups\": %d, \"seconds\": %s, \"cpu_seconds\": %s, \"first_ms\": %d%s}%n",
            messages, groups, seconds, cpuSeconds() - firstCpu, firstMs,
            commits == 0 ? "" : ", \"commits\": " + commits);
    }

    /** Processor time of all threads of this program so far. */
    private static double cpuSeconds() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
    }
}
