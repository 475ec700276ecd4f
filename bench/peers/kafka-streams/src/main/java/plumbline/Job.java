package plumbline;

import static plumbline.PeersJob.BROKERS;
import static plumbline.PeersJob.FOLDER;
import static plumbline.PeersJob.INPUT;
import static plumbline.PeersJob.NAME;
import static plumbline.PeersJob.OUTPUT;
import static plumbline.PeersJob.bytesOf;
import static plumbline.PeersJob.groupOf;
import static plumbline.PeersJob.rewardOf;

import java.nio.ByteBuffer;
import java.util.Properties;
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
import plumbline.PeersJob.Pending;

/** Kafka Streams, exactly once: state in RocksDB behind a cache, with a changelog; outputs and positions in transactions. */
public final class Job {
    static final String STORE = "pending";
    static final Progress PROGRESS = new Progress();

    public static void main(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, NAME);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, BROKERS);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, FOLDER);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), pendingSerde())
                .withCachingEnabled());
        builder.stream(INPUT, Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .process(Collect::new, STORE)
            .to(OUTPUT, Produced.with(Serdes.String(), Serdes.ByteArray()));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        PROGRESS.done.join();
        // Commits the rest, which the last interval did not.
        streams.close();
        PROGRESS.tell();
    }

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
            PROGRESS.message();
            Pending before = store.get(message.key());
            Pending pending = (before == null ? Pending.NOTHING : before).and(rewardOf(message.value()).reward());
            if (pending.isComplete()) {
                store.put(message.key(), pending.next());
                context.forward(message.withValue(bytesOf(groupOf(message.key(), pending))));
                PROGRESS.group();
            } else {
                store.put(message.key(), pending);
            }
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
