package plumbline;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Kafka Streams, exactly once: state in RocksDB behind a cache, with a changelog; outputs and positions in transactions. */
public final class PeersJob {
    static final int GROUP = 16;
    static final String STORE = "pending";
    static final ObjectMapper JSON = new ObjectMapper();

    static final CountDownLatch DONE = new CountDownLatch(1);
    static long wanted;
    static long messages;
    static long groups;
    static long firstMs;
    static double firstCpu;

    public static void main(String[] arguments) throws InterruptedException {
        wanted = Long.parseLong(System.getenv("BENCH_MESSAGES"));

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("BENCH_NAME"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("BENCH_BROKERS"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("BENCH_FOLDER"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), pendingSerde())
                .withCachingEnabled());
        builder.stream(System.getenv("BENCH_INPUT"), Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .process(Collect::new, STORE)
            .to(System.getenv("BENCH_OUTPUT"), Produced.with(Serdes.String(), Serdes.ByteArray()));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        DONE.await();
        // Commits the rest, which the last interval did not.
        streams.close();
        double seconds = (System.currentTimeMillis() - firstMs) / 1000.0;
        System.out.printf(
            "{\"messages\": %d, \"groups\": %d, \"seconds\": %s, \"cpu_seconds\": %s, \"first_ms\": %d}%n",
            messages, groups, seconds, cpuSeconds() - firstCpu, firstMs);
    }

    /** Processor time of all threads of this program so far. */
    static double cpuSeconds() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
    }

    /** How many groups a key has completed, and the rewards of its incomplete group. */
    record Pending(long group, double[] rewards) {}

    static final class Collect implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, Pending> store;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            this.store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, byte[]> message) {
            if (messages == 0) {
                firstMs = System.currentTimeMillis();
                firstCpu = cpuSeconds();
            }
            messages++;
            Pending before = store.get(message.key());
            long group = before == null ? 0 : before.group();
            int count = before == null ? 0 : before.rewards().length;
            double[] rewards = new double[count + 1];
            if (before != null) System.arraycopy(before.rewards(), 0, rewards, 0, count);
            rewards[count] = rewardOf(message.value());
            if (rewards.length < GROUP) {
                store.put(message.key(), new Pending(group, rewards));
            } else {
                store.put(message.key(), new Pending(group + 1, new double[0]));
                context.forward(message.withValue(groupOf(message.key(), group, rewards)));
                groups++;
            }
            if (messages == wanted) DONE.countDown();
        }
    }

    static double rewardOf(byte[] value) {
        try {
            JsonNode message = JSON.readTree(value);
            return message.get("reward").asDouble();
        } catch (IOException error) {
            throw new IllegalArgumentException(error);
        }
    }

    /** Mean, standard deviation (ddof 1) and advantages (r - mean) / std. */
    static byte[] groupOf(String key, long group, double[] rewards) {
        double sum = 0;
        for (double reward : rewards) sum += reward;
        double mean = sum / rewards.length;
        double squares = 0;
        for (double reward : rewards) squares += (reward - mean) * (reward - mean);
        double deviation = Math.sqrt(squares / (rewards.length - 1));
        double[] advantages = new double[rewards.length];
        for (int at = 0; at < rewards.length; at++) advantages[at] = (rewards[at] - mean) / deviation;
        try {
            return JSON.writeValueAsBytes(
                Map.of("key", key, "group", group, "mean", mean, "standard_deviation", deviation, "advantages", advantages));
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    static Serde<Pending> pendingSerde() {
        return Serdes.serdeFrom(
            (topic, pending) -> {
                if (pending == null) return null;
                ByteBuffer bytes = ByteBuffer.allocate(Long.BYTES + Double.BYTES * pending.rewards().length);
                bytes.putLong(pending.group());
                for (double reward : pending.rewards()) bytes.putDouble(reward);
                return bytes.array();
            },
            (topic, bytes) -> {
                if (bytes == null) return null;
                ByteBuffer from = ByteBuffer.wrap(bytes);
                long group = from.getLong();
                double[] rewards = new double[from.remaining() / Double.BYTES];
                for (int at = 0; at < rewards.length; at++) rewards[at] = from.getDouble();
                return new Pending(group, rewards);
            });
    }
}
