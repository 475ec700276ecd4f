package plumbline;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.Arrays;

/** What the programs in Java share: where to read and write, and what is made of sixteen rewards. */
public final class PeersJob {
    static final String BROKERS = System.getenv("BENCH_BROKERS");
    static final String INPUT = System.getenv("BENCH_INPUT");
    static final String OUTPUT = System.getenv("BENCH_OUTPUT");
    /** Consumer group or application, new in every run. */
    static final String NAME = System.getenv("BENCH_NAME");
    /** Of this run alone, for state. */
    static final String FOLDER = System.getenv("BENCH_FOLDER");

    private static final int GROUP = 16;
    private static final ObjectMapper JSON = new ObjectMapper();

    private PeersJob() {}

    /** What is read of a message. */
    public record Reward(String key, double reward) {}

    /** How many groups a key has completed before, and the rewards of its next group so far. */
    public record Pending(long group, double[] rewards) {
        static final Pending NOTHING = new Pending(0, new double[0]);

        Pending and(double reward) {
            double[] more = Arrays.copyOf(rewards, rewards.length + 1);
            more[rewards.length] = reward;
            return new Pending(group, more);
        }

        boolean isComplete() {
            return rewards.length == GROUP;
        }

        Pending next() {
            return new Pending(group + 1, new double[0]);
        }
    }

    /** A completed group, with the names that the outputs have. */
    public record Group(String key, long group, double mean, double standard_deviation, double[] advantages) {}

    static Reward rewardOf(byte[] value) {
        try {
            JsonNode message = JSON.readTree(value);
            return new Reward(message.get("key").asText(), message.get("reward").asDouble());
        } catch (IOException error) {
            throw new IllegalArgumentException(error);
        }
    }

    /** Mean, standard deviation (ddof 1) and advantages (r - mean) / std. */
    static Group groupOf(String key, Pending complete) {
        double[] rewards = complete.rewards();
        double sum = 0;
        for (double reward : rewards) sum += reward;
        double mean = sum / rewards.length;
        double squares = 0;
        for (double reward : rewards) squares += (reward - mean) * (reward - mean);
        double deviation = Math.sqrt(squares / (rewards.length - 1));
        double[] advantages = new double[rewards.length];
        for (int at = 0; at < rewards.length; at++) advantages[at] = (rewards[at] - mean) / deviation;
        return new Group(key, complete.group(), mean, deviation, advantages);
    }

    static byte[] bytesOf(Group group) {
        try {
            return JSON.writeValueAsBytes(group);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }
}
